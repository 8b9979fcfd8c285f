import { Worker } from "bullmq";
import { z } from "zod";
import { serveParent } from "../child-process.ts";

/** A bare BullMQ worker whose jobs do nothing. Answers an order when so many jobs have ended since it was started. */
const env = z.object({ REDIS_URL: z.string(), WORKER_CONCURRENCY: z.coerce.number() }).parse(process.env);

let ended = 0;
let onEnded = (): void => {};
const connection = { url: env.REDIS_URL, maxRetriesPerRequest: null };
const worker = new Worker("bare", async () => "succeeded", { connection, concurrency: env.WORKER_CONCURRENCY });
worker.on("completed", () => {
  ended += 1;
  onEnded();
});
worker.on("error", (error) => console.error(error));
await worker.waitUntilReady();

serveParent(
  z.object({ untilEnded: z.int() }),
  ({ untilEnded }) =>
    new Promise<void>((resolve) => {
      onEnded = () => {
        if (ended >= untilEnded) resolve();
      };
      onEnded();
    }),
  () => worker.close(),
);
