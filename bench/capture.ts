import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startPostgres } from "@rowback/local-services";
import { createSlot, dropSlot, openSource } from "@rowback/recovery";
import pg from "pg";
import { z } from "zod";
import { type Child, startChild } from "./child-process.ts";
import { confine } from "./cores.ts";
import { inTurns, median, ratio, report, seconds } from "./measure.ts";
import { type PgbenchResult, pgbench } from "./pgbench.ts";

/**
 * What a capture costs its source, and how fast it is, on PostgreSQL 18 with fsync:
 *
 * - `tps_ratio`: pgbench's own transaction by pgbench, as many as go, while the tables are published, a slot exists and a process captures
 *   it, to the same without any of them; turn by turn. With and without, the server runs on core 0 alone and has no idle moment; pgbench and
 *   the capture run on the other cores, as they would on other machines. So what the server's own process takes that decodes and sends is in the
 *   figure; what ours takes is not.
 * - `latency_ratio_at_50`, `…_at_75`: the mean latency with the capture to that without, at half and at three quarters of the transactions a
 *   second that went without; `tps_ratio_at_…`: how many of them went.
 * - `tps_ratio_shared_cores`: the same transaction by writers inside the server, who wait for no network and parse nothing, while they, the
 *   server and the capture share all cores and leave little of them idle.
 * - `changes_per_second`: of one process that reads a backlog of row changes to durable segments; `ratio_to_sql_drain`: to the server
 *   decoding the same WAL for `pg_logical_slot_peek_binary_changes` and only counting.
 * - `lag_p99_seconds`: from a commit to the moment its changes are gathered, at 5,000 changes a second; `durable_lag_p99_seconds`: to the
 *   moment they are stored, with segments of 1 s.
 * - `big_peak_rss_mib`: the capture's memory over a transaction of 2 million rows, and `peak_rss_mib` before it.
 *
 * `npm run bench -- capture [--seconds 5] [--rounds 5] [--writers 4] [--clients 8] [--backlog 400000] [--big 2000000]`
 */
const { values: options } = parseArgs({
  options: {
    only: { type: "string", default: "throughput,backlog,lag,big" },
    seconds: { type: "string", default: "5" },
    rounds: { type: "string", default: "5" },
    writers: { type: "string", default: "4" },
    clients: { type: "string", default: "8" },
    backlog: { type: "string", default: "400000" },
    big: { type: "string", default: "2000000" },
  },
});
const writers = Number(options.writers);
const WARM_UP_SECONDS = 2;
const SERVER_CORE = "0";
const OTHER_CORES = `1-${availableParallelism() - 1}`;
const ALL_CORES = `0-${availableParallelism() - 1}`;

const SCHEMA = `
CREATE TABLE tenants (id int PRIMARY KEY, name text);
CREATE TABLE branches (id int PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, balance bigint NOT NULL, filler char(88));
CREATE TABLE tellers (id int PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, balance bigint NOT NULL, filler char(84));
CREATE TABLE accounts (id int PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, balance bigint NOT NULL, filler char(84));
CREATE TABLE history (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id int NOT NULL, account_id int NOT NULL, delta int NOT NULL, at timestamptz NOT NULL DEFAULT now());
INSERT INTO tenants SELECT n, 'Tenant ' || n FROM generate_series(1, 100) AS n;
INSERT INTO branches SELECT n, n, 0, '' FROM generate_series(1, 100) AS n;
INSERT INTO tellers SELECT n, 1 + n % 100, 0, '' FROM generate_series(1, 1000) AS n;
INSERT INTO accounts SELECT n, 1 + n % 100, 0, '' FROM generate_series(1, 100000) AS n;
CREATE UNIQUE INDEX branches_identity ON branches (id, tenant_id);
CREATE UNIQUE INDEX tellers_identity ON tellers (id, tenant_id);
CREATE UNIQUE INDEX accounts_identity ON accounts (id, tenant_id);
ALTER TABLE branches REPLICA IDENTITY USING INDEX branches_identity;
ALTER TABLE tellers REPLICA IDENTITY USING INDEX tellers_identity;
ALTER TABLE accounts REPLICA IDENTITY USING INDEX accounts_identity;
CREATE PROCEDURE write_for(duration interval, INOUT transactions int) LANGUAGE plpgsql AS $$
DECLARE
  until timestamptz := clock_timestamp() + duration;
  account int;
  delta int;
BEGIN
  transactions := 0;
  WHILE clock_timestamp() < until LOOP
    account := 1 + floor(random() * 100000);
    delta := floor(random() * 10000) - 5000;
    UPDATE accounts SET balance = balance + delta WHERE id = account;
    UPDATE tellers SET balance = balance + delta WHERE id = 1 + floor(random() * 1000)::int;
    UPDATE branches SET balance = balance + delta WHERE id = 1 + floor(random() * 100)::int;
    INSERT INTO history (tenant_id, account_id, delta) VALUES (1 + account % 100, account, delta);
    COMMIT;
    transactions := transactions + 1;
  END LOOP;
END $$`;
const PUBLISH = "CREATE PUBLICATION bench FOR TABLE tenants, branches, tellers, accounts, history";

const Stats = z.object({
  changes: z.number(),
  segments: z.number(),
  storedBytes: z.number(),
  peakRssMib: z.number(),
  lagP99Seconds: z.number(),
  durableLagP99Seconds: z.number(),
});
type Stats = z.infer<typeof Stats>;

const folder = await mkdtemp(join(tmpdir(), "rowback-bench-"));
const server = await startPostgres({
  settings: { shared_buffers: "512MB", max_wal_size: "8GB", synchronous_commit: "on", autovacuum: "off" },
});
const pool = new pg.Pool({ connectionString: server.url, max: writers + 2 });
// A connection that is idle when the server stops is no news.
pool.on("error", () => {});
const source = openSource({
  id: randomUUID(),
  connectionString: server.url,
  tenancy: { mode: "column", column: "tenant_id" },
  rules: [],
  maxConnections: 2,
});
const { signal } = new AbortController();
try {
  await pool.query(SCHEMA);
  await pool.query("VACUUM ANALYZE");
  report({ bench: "capture", ...(await figures()), load_average: ratio(loadavg()[0] ?? 0, 1) });
} finally {
  await Promise.all([pool.end(), source.close()]);
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}

async function figures(): Promise<Record<string, number>> {
  const parts = { throughput: compareThroughput, backlog: drainBacklog, lag: measureLag, big: captureBigTransaction };
  const found: Record<string, number> = {};
  for (const [name, part] of Object.entries(parts)) {
    if (options.only.split(",").includes(name)) Object.assign(found, await part());
  }
  return found;
}

async function compareThroughput(): Promise<Record<string, number>> {
  const shared = await inTurns(Number(options.rounds), {
    without: () => steadily((secs) => write(secs)),
    with: () => capturing(10_000, () => steadily((secs) => write(secs))).then(({ result }) => result),
  });
  await confine(server.pid, SERVER_CORE);
  const most = await pgbenchInTurns(null);
  const half = await pgbenchInTurns(most.without.tps / 2);
  const threeQuarters = await pgbenchInTurns((most.without.tps * 3) / 4);
  await confine(server.pid, ALL_CORES);
  return {
    tps_without: Math.round(most.without.tps),
    tps_with: Math.round(most.with.tps),
    tps_ratio: ratio(most.with.tps, most.without.tps),
    tps_ratio_at_50: ratio(half.with.tps, half.without.tps),
    latency_ms_without_at_50: half.without.latencyMs,
    latency_ratio_at_50: ratio(half.with.latencyMs, half.without.latencyMs),
    tps_ratio_at_75: ratio(threeQuarters.with.tps, threeQuarters.without.tps),
    latency_ms_without_at_75: threeQuarters.without.latencyMs,
    latency_ratio_at_75: ratio(threeQuarters.with.latencyMs, threeQuarters.without.latencyMs),
    tps_without_shared_cores: Math.round(shared("without")),
    tps_ratio_shared_cores: ratio(shared("with"), shared("without")),
  };
}

/** Medians with and without a capture, the server on its own core. */
async function pgbenchInTurns(rate: number | null): Promise<Record<"without" | "with", PgbenchResult>> {
  const latencies: Record<"without" | "with", number[]> = { without: [], with: [] };
  const note = (name: "without" | "with", { tps, latencyMs }: PgbenchResult): number => {
    latencies[name].push(latencyMs);
    return tps;
  };
  const load = { url: server.url, folder, clients: Number(options.clients), cores: OTHER_CORES, rate };
  const once = (): Promise<PgbenchResult> => steadily((secs) => pgbench({ ...load, seconds: secs }));
  const tps = await inTurns(Number(options.rounds), {
    without: async () => note("without", await once()),
    with: async () => note("with", (await capturing(10_000, once, OTHER_CORES)).result),
  });
  const of = (name: "without" | "with"): PgbenchResult => ({
    tps: tps(name),
    // The first round warms caches.
    latencyMs: median(latencies[name].slice(1)),
  });
  return { without: of("without"), with: of("with") };
}

/** A capture runs for weeks: what its process takes to start and to compile is not measured. */
async function steadily<T>(load: (secs: number) => Promise<T>): Promise<T> {
  await load(WARM_UP_SECONDS);
  return await load(Number(options.seconds));
}

/** Transactions a second. */
async function write(secs: number): Promise<number> {
  const each = await Promise.all(
    Array.from({ length: writers }, async () => {
      const { rows } = await pool.query(`CALL write_for('${secs} seconds', 0)`);
      return z.tuple([z.object({ transactions: z.number() })]).parse(rows)[0].transactions;
    }),
  );
  return each.reduce((sum, one) => sum + one, 0) / secs;
}

async function drainBacklog(): Promise<Record<string, number>> {
  const rows = Number(options.backlog);
  const drained: number[] = [];
  let stats: Stats | null = null;
  const took: number[] = [];
  for (let round = 0; round < Number(options.rounds); round += 1) {
    await pool.query(PUBLISH);
    const [ours, theirs] = [await slot("ours"), await slot("sql")];
    for (let done = 0; done < rows; done += 1_000)
      await pool.query("UPDATE accounts SET balance = balance + 1 WHERE id > $1 AND id <= $1 + 1000", [done % 100_000]);
    const end = await position();
    drained.push(
      await seconds(() =>
        pool.query(
          "SELECT count(*) FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', 'bench')",
          [theirs.name],
        ),
      ),
    );
    const child = startChild("capture");
    // The last segment is closed by its age: half a second of that is in the figure.
    await start(child, ours, 500);
    took.push(await seconds(() => child.ask({ until: end }, z.unknown())));
    stats = await child.ask({ stop: true }, Stats);
    await child.stop();
    await forget([ours.name, theirs.name]);
    console.log(
      `backlog round ${round + 1}: ours ${took.at(-1)?.toFixed(2)} s, sql ${drained.at(-1)?.toFixed(2)} s, ${stats.changes} changes`,
    );
    if (stats.changes !== rows) throw new Error(`${stats.changes} of ${rows} changes are in the log`);
  }
  return {
    changes_per_second: Math.round(rows / median(took)),
    sql_drain_per_second: Math.round(rows / median(drained)),
    ratio_to_sql_drain: ratio(median(drained), median(took)),
    peak_rss_mib: Math.round(stats?.peakRssMib ?? 0),
  };
}

async function measureLag(): Promise<Record<string, number>> {
  const { stats } = await capturing(1_000, async () => {
    const until = performance.now() + Number(options.seconds) * 2_000;
    for (let at = performance.now(), n = 0; at < until; at += 20, n += 1) {
      const from = (n * 100) % 100_000;
      await pool.query("UPDATE accounts SET balance = balance + 1 WHERE id > $1 AND id <= $1 + 100", [from]);
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, at + 20 - performance.now())));
    }
  });
  return {
    lag_changes_per_second: Math.round(stats.changes / (Number(options.seconds) * 2)),
    lag_p99_seconds: stats.lagP99Seconds,
    durable_lag_p99_seconds: stats.durableLagP99Seconds,
  };
}

async function captureBigTransaction(): Promise<Record<string, number>> {
  const rows = Number(options.big);
  const { stats, took } = await capturing(10_000, async () => {
    await pool.query(
      "INSERT INTO history (tenant_id, account_id, delta) SELECT 1 + n % 100, n, n FROM generate_series(1, $1::int) AS n",
      [rows],
    );
  });
  if (stats.changes !== rows) throw new Error(`${stats.changes} of ${rows} rows are in the log`);
  return {
    big_rows: rows,
    big_segments: stats.segments,
    big_peak_rss_mib: Math.round(stats.peakRssMib),
    big_seconds: Math.round(took),
  };
}

/** Runs `fn` while a new process captures a new slot; waits until all of it is in the log. */
async function capturing<T>(
  segmentMs: number,
  fn: () => Promise<T>,
  cores: string = ALL_CORES,
): Promise<{ result: T; stats: Stats; took: number }> {
  await pool.query(PUBLISH);
  const made = await slot("ours");
  const child = startChild("capture");
  await confine(child.pid, cores);
  await start(child, made, segmentMs);
  const result = await fn();
  const end = await position();
  const took = await seconds(() => child.ask({ until: end }, z.unknown()));
  const stats = await child.ask({ stop: true }, Stats);
  await child.stop();
  await forget([made.name]);
  return { result, stats, took };
}

interface MadeSlot {
  readonly name: string;
  readonly startLsn: string;
}

async function slot(name: string): Promise<MadeSlot> {
  const { startLsn } = await createSlot(source, { slotName: name, publicationName: "bench" }, signal);
  return { name, startLsn };
}

async function start(child: Child, { name, startLsn }: MadeSlot, segmentMs: number): Promise<void> {
  const where = { url: server.url, root: join(folder, randomUUID()), sourceId: source.id };
  const order = { ...where, slotName: name, publicationName: "bench", coveredLsn: startLsn, segmentMs };
  await child.ask({ start: order }, z.unknown());
}

async function forget(slots: readonly string[]): Promise<void> {
  for (const name of slots) await dropSlot(source, name, signal);
  await pool.query("DROP PUBLICATION bench");
}

async function position(): Promise<string> {
  const { rows } = await pool.query("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::text AS lsn");
  const [{ lsn }] = z.tuple([z.object({ lsn: z.coerce.bigint() })]).parse(rows);
  return lsn.toString(16).padStart(16, "0");
}
