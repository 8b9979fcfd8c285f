import { mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { insertRun, openControlDatabase } from "@rowback/db";
import { createProducer, JOBS } from "@rowback/jobs";
import pg from "pg";
import { z } from "zod";
import { type Child, startChild } from "./child-process.ts";
import { startControlPlane } from "./control-plane.ts";
import { median, ratio, report } from "./measure.ts";

/**
 * What one tenant's 5,000 queued runs mean for another's single one, and what keeping them apart costs, turn by turn with:
 *
 * - `fifo`: the same worker without fairness: the oldest runs first, whosever they are (bench/processes/waiting-worker.ts).
 *
 * Ours: the real worker with its default settings, but for handlers that take `--job-ms` each. While it works through the
 * noisy tenant's runs, other tenants ask for one run each. Waiting is from the row's `available_at` to its `started_at`,
 * both the database's clock; throughput is runs over the time from the first start to the last end.
 *
 * `npm run bench -- fairness [--runs 5000] [--job-ms 40] [--singles 20] [--rounds 2]`
 */
const { values: options } = parseArgs({
  options: {
    runs: { type: "string", default: "5000" },
    "job-ms": { type: "string", default: "40" },
    singles: { type: "string", default: "20" },
    rounds: { type: "string", default: "2" },
  },
});
const runs = Number(options.runs);
const jobMs = Number(options["job-ms"]);
const singles = Number(options.singles);
const CONCURRENCY = 4;
const Read = z.object({ seconds: z.number(), waits: z.array(z.number()), retried: z.int() });

const store = await mkdtemp(join(tmpdir(), "rowback-bench-"));
const plane = await startControlPlane({
  tenantKeys: Array.from({ length: singles + 1 }, (_, n) => String(n)),
  store,
  sourceUrl: "postgres://nobody@127.0.0.1:1/none",
});
const [noisyTenant, ...otherTenants] = plane.tenantIds;
const env = { ...plane.env, WORKER_CONCURRENCY: String(CONCURRENCY), JOB_MS: String(jobMs) };
const db = openControlDatabase({ url: plane.databaseUrl, maxConnections: 10, applicationName: "rowback bench" });
const producer = createProducer({ redisUrl: plane.redisUrl, prefix: "rowback" });
const watcher = new pg.Client({ connectionString: plane.databaseUrl });
await watcher.connect();
try {
  report({ bench: "fairness", ...(await compare()) });
} finally {
  await watcher.end();
  await producer.close();
  await db.close();
  await plane.stop();
  await rm(store, { recursive: true, force: true });
}

interface Figures {
  readonly runsPerSecond: number;
  /** Of the single runs, in job durations. */
  readonly waits: readonly number[];
}

async function compare(): Promise<Record<string, number>> {
  const figures = { ours: [] as Figures[], fifo: [] as Figures[] };
  for (let round = 1; round <= Number(options.rounds); round += 1) {
    figures.ours.push(await turn({ FIFO: "0" }));
    figures.fifo.push(await turn({ FIFO: "1" }));
    console.log(`round ${round}: ours ${describe(figures.ours.at(-1))}; fifo ${describe(figures.fifo.at(-1))}`);
  }
  const waits = figures.ours.flatMap((figure) => figure.waits);
  const rate = (of: readonly Figures[]): number => median(of.map((figure) => figure.runsPerSecond));
  return {
    noisy_runs: runs,
    job_ms: jobMs,
    single_runs: waits.length,
    wait_in_job_durations_median: ratio(median(waits), 1),
    wait_in_job_durations_worst: ratio(Math.max(...waits), 1),
    fifo_wait_in_job_durations_median: ratio(median(figures.fifo.flatMap((figure) => figure.waits)), 1),
    runs_per_second: ratio(rate(figures.ours), 1),
    fifo_runs_per_second: ratio(rate(figures.fifo), 1),
    throughput_ratio: ratio(rate(figures.ours), rate(figures.fifo)),
    load_average: ratio(loadavg()[0] ?? 0, 1),
  };
}

/** One worker, the noisy tenant's runs, and the others' single ones at even distances in the first half of the work. */
async function turn(contender: { readonly FIFO: string }): Promise<Figures> {
  await watcher.query("TRUNCATE runs CASCADE");
  await inLots(Array.from({ length: runs }, () => noisyTenant ?? ""));
  await watcher.query("VACUUM ANALYZE runs");
  const child: Child = startChild("waiting-worker", { ...env, ...contender });
  try {
    for (const [n, tenantId] of otherTenants.entries()) {
      await untilEnded(((n + 1) / (singles * 2)) * runs);
      await ask(tenantId);
    }
    await untilEnded(runs + singles);
    return await read();
  } finally {
    await child.stop();
  }
}

async function inLots(tenantIds: readonly string[]): Promise<void> {
  const waiting = [...tenantIds];
  const work = async (): Promise<void> => {
    for (let tenantId = waiting.pop(); tenantId !== undefined; tenantId = waiting.pop()) await ask(tenantId);
  };
  await Promise.all(Array.from({ length: 10 }, work));
}

async function ask(tenantId: string): Promise<void> {
  const { attempts: maxAttempts } = JOBS.backup_verify;
  const wish = {
    kind: "backup_verify",
    tenantId,
    sourceId: plane.sourceId,
    maxAttempts,
    requestedBy: "bench",
  } as const;
  const inserted = await insertRun(db.system, wish);
  if (inserted.outcome !== "created") throw new Error(`the run was not created: ${inserted.outcome}`);
  await producer.enqueue("backup_verify", { runId: inserted.run.id });
}

async function untilEnded(count: number): Promise<void> {
  for (;;) {
    const { rows } = await watcher.query("SELECT count(*)::int AS ended FROM runs WHERE status = 'succeeded'");
    if (z.object({ ended: z.int() }).parse(rows[0]).ended >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function read(): Promise<Figures> {
  const { rows } = await watcher.query(
    `SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 AS seconds,
  array_agg(extract(epoch FROM started_at - available_at)::float8 * 1000) FILTER (WHERE tenant_id <> $1) AS waits,
  (count(*) FILTER (WHERE attempt <> 1))::int AS retried FROM runs`,
    [noisyTenant],
  );
  const { seconds, waits, retried } = Read.parse(rows[0]);
  if (retried > 0) throw new Error(`${retried} runs took more than one attempt`);
  return { runsPerSecond: (runs + singles) / seconds, waits: waits.map((ms) => ms / jobMs) };
}

function describe(figures: Figures | undefined): string {
  if (figures === undefined) return "nothing";
  return `${figures.runsPerSecond.toFixed(1)} runs/s, waited ${median(figures.waits).toFixed(1)} job durations`;
}
