import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startPostgres } from "@rowback/local-services";
import { createSlot, dropSlot, openSource } from "@rowback/recovery";
import pg from "pg";
import { z } from "zod";
import { type Child, startChild } from "./child-process.ts";
import { inTurns, median, ratio, report, seconds } from "./measure.ts";

/**
 * What a capture costs its source, and how fast it is, on PostgreSQL 18 with fsync:
 *
 * - `tps_ratio`: pgbench's transaction (three updates, one insert, a commit), by as many server-side writers as given, while the tables
 *   are published, a slot exists and a process captures it, to the same without any of them; turn by turn. Writers, server and capture
 *   share this machine's cores, so what the capture takes from them is in the figure.
 * - `changes_per_second`: of one process that reads a backlog of row changes to durable segments; `ratio_to_sql_drain`: to the server
 *   decoding the same WAL for `pg_logical_slot_peek_binary_changes` and only counting.
 * - `lag_p99_seconds`: from a commit to the moment its changes are gathered, at 5,000 changes a second; `durable_lag_p99_seconds`: to the
 *   moment they are stored, with segments of 1 s.
 * - `big_peak_rss_mib`: the capture's memory over a transaction of 2 million rows, and `peak_rss_mib` before it.
 *
 * `npm run bench -- capture [--seconds 8] [--rounds 3] [--writers 4] [--backlog 400000] [--big 2000000]`
 */
const { values: options } = parseArgs({
  options: {
    seconds: { type: "string", default: "8" },
    rounds: { type: "string", default: "3" },
    writers: { type: "string", default: "4" },
    backlog: { type: "string", default: "400000" },
    big: { type: "string", default: "2000000" },
  },
});
const writers = Number(options.writers);

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
  const tps = await compareThroughput();
  const backlog = await drainBacklog();
  const lag = await measureLag();
  const big = await captureBigTransaction();
  return { ...tps, ...backlog, ...lag, ...big };
}

async function compareThroughput(): Promise<Record<string, number>> {
  const perSecond = await inTurns(Number(options.rounds), {
    without: () => write(),
    with: () => capturing(10_000, () => write()).then(({ result }) => result),
  });
  return {
    tps_without: Math.round(perSecond("without")),
    tps_with: Math.round(perSecond("with")),
    tps_ratio: ratio(perSecond("with"), perSecond("without")),
  };
}

/** Transactions a second. */
async function write(): Promise<number> {
  const each = await Promise.all(
    Array.from({ length: writers }, async () => {
      const { rows } = await pool.query(`CALL write_for('${options.seconds} seconds', 0)`);
      return z.tuple([z.object({ transactions: z.number() })]).parse(rows)[0].transactions;
    }),
  );
  return each.reduce((sum, one) => sum + one, 0) / Number(options.seconds);
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
): Promise<{ result: T; stats: Stats; took: number }> {
  await pool.query(PUBLISH);
  const made = await slot("ours");
  const child = startChild("capture");
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
