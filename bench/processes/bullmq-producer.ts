import { randomUUID } from "node:crypto";
import { Queue } from "bullmq";
import { z } from "zod";
import { serveParent } from "../child-process.ts";

/** Adds jobs to a bare queue, as many at a time as the other producer; they carry an id and are kept as long as Rowback's. */
const env = z.object({ REDIS_URL: z.string() }).parse(process.env);
const Order = z.object({ jobs: z.int(), inFlight: z.int() });

const connection = { url: env.REDIS_URL, maxRetriesPerRequest: null };
const queue = new Queue("bare", {
  connection,
  defaultJobOptions: { removeOnComplete: { age: 86_400, count: 1_000 }, removeOnFail: { age: 604_800, count: 5_000 } },
});

serveParent(
  Order,
  async ({ jobs, inFlight }) => {
    let left = jobs;
    const add = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        const runId = randomUUID();
        await queue.add("backup", { runId }, { jobId: runId });
      }
    };
    await Promise.all(Array.from({ length: inFlight }, add));
  },
  () => queue.close(),
);
