import { mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { startChild } from "./child-process.ts";
import { startControlPlane } from "./control-plane.ts";
import { inTurns, ratio, report, seconds } from "./measure.ts";

/**
 * How many runs that do nothing go through Rowback's queue in a second, from the request to the recorded outcome, turn by turn with:
 *
 * - `bullmq`: the same number of jobs that do nothing through BullMQ alone, on the same Redis, with as many in flight on either side.
 *
 * Ours: a producer's process writes each run's row in a transaction of its tenant's and enqueues its job; one worker process (the
 * real one, but for handlers that do nothing) claims the row, and writes the outcome. PostgreSQL 18 with fsync, Redis with its append-only file.
 *
 * `npm run bench -- queue [--runs 4000] [--rounds 3] [--concurrency 16]`: runs that the worker has in hand, and requests in flight.
 */
const { values: options } = parseArgs({
  options: {
    runs: { type: "string", default: "4000" },
    rounds: { type: "string", default: "3" },
    concurrency: { type: "string", default: "16" },
  },
});
const runs = Number(options.runs);
const inFlight = Number(options.concurrency);
const TENANTS = 100;

const store = await mkdtemp(join(tmpdir(), "rowback-bench-"));
const plane = await startControlPlane({
  tenantKeys: Array.from({ length: TENANTS }, (_, n) => String(n)),
  store,
  sourceUrl: "postgres://nobody@127.0.0.1:1/none",
});
const env = { ...plane.env, WORKER_CONCURRENCY: options.concurrency };
const children = {
  producer: startChild("run-producer", env),
  worker: startChild("noop-worker", env),
  bareProducer: startChild("bullmq-producer", env),
  bareWorker: startChild("bullmq-worker", env),
};
try {
  report({ bench: "queue", ...(await compare()) });
} finally {
  await Promise.all(Object.values(children).map((child) => child.stop()));
  await plane.stop();
  await rm(store, { recursive: true, force: true });
}

async function compare(): Promise<Record<string, number>> {
  const { sourceId } = plane;
  const tenantIds = Array.from({ length: runs }, (_, n) => plane.tenantIds[n % TENANTS]);
  let bareJobs = 0;
  const took = await inTurns(Number(options.rounds), {
    ours: () =>
      seconds(async () => {
        await children.producer.ask({ sourceId, tenantIds, inFlight }, z.null());
        await plane.untilAllSucceeded();
      }),
    bullmq: () =>
      seconds(async () => {
        bareJobs += runs;
        const ended = children.bareWorker.ask({ untilEnded: bareJobs }, z.null());
        await children.bareProducer.ask({ jobs: runs, inFlight }, z.null());
        await ended;
      }),
  });
  return {
    runs,
    concurrency: inFlight,
    runs_per_second: Math.round(runs / took("ours")),
    bare_bullmq_per_second: Math.round(runs / took("bullmq")),
    ratio_to_bare_bullmq: ratio(took("bullmq"), took("ours")),
    load_average: ratio(loadavg()[0] ?? 0, 1),
  };
}
