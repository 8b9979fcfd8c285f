import { setTimeout as sleep } from "node:timers/promises";
import { claimRun, openControlDatabase, succeedRun } from "@rowback/db";
import { Worker } from "bullmq";
import { Redis } from "ioredis";
import { z } from "zod";
import { serveParent } from "../child-process.ts";

/**
 * What a worker without fairness is: BullMQ hands the jobs out in the order they came, and each takes its own run by id.
 * It renews no lease, watches for no cancellation and shows no progress, so it is rather too fast.
 */
const env = z
  .object({
    DATABASE_URL: z.string(),
    REDIS_URL: z.string(),
    JOB_MS: z.coerce.number(),
    WORKER_CONCURRENCY: z.coerce.number(),
  })
  .parse(process.env);
const Payload = z.object({ runId: z.uuid() });

const db = openControlDatabase({ url: env.DATABASE_URL, maxConnections: 8, applicationName: "rowback bench fifo" });
const connection = new Redis(env.REDIS_URL, { maxRetriesPerRequest: null });
const worker = new Worker(
  "backups",
  async (job) => {
    const { runId } = Payload.parse(job.data);
    const run = await claimRun(db.system, { runId, worker: "fifo", leaseMs: 30_000 });
    if (run === null) return;
    await sleep(env.JOB_MS);
    await succeedRun(db.system, { runId, attemptToken: run.attemptToken }, null);
  },
  { connection, prefix: "rowback", concurrency: env.WORKER_CONCURRENCY },
);
await worker.waitUntilReady();
serveParent(
  z.object({}),
  async () => undefined,
  async () => {
    await worker.close();
    connection.disconnect();
    await db.close();
  },
);
