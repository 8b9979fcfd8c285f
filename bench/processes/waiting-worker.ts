import { setTimeout as sleep } from "node:timers/promises";
import { ClaimedRun, RUN_COLUMNS } from "@rowback/db";
import { startWorker, type WorkerOptions } from "@rowback/worker";
import { readConfig } from "@rowback/worker/config";
import { z } from "zod";
import { serveParent } from "../child-process.ts";

/**
 * The worker as it is, but for its handlers: a verification takes `JOB_MS` milliseconds and comes to nothing.
 * With `FIFO=1` it also has no fairness: the oldest runs come first, whosever they are, without limits and without waiting
 * for other claims, as a queue in a PostgreSQL table does it (SKIP LOCKED).
 */
const { JOB_MS, FIFO } = z.object({ JOB_MS: z.coerce.number(), FIFO: z.enum(["0", "1"]) }).parse(process.env);
const refuse = async (): Promise<never> => {
  throw new Error("this worker verifies only");
};
const handlers: NonNullable<WorkerOptions["handlers"]> = () => ({
  discovery: refuse,
  backup: refuse,
  restore_preview: refuse,
  restore: refuse,
  tenant_erase: refuse,
  capture_setup: refuse,
  capture_teardown: refuse,
  restore_point: refuse,
  history: refuse,
  backup_verify: async ({ run }) => {
    await sleep(JOB_MS);
    return {
      kind: "backup_verify",
      result: { backupId: run.id, manifestSha256: "0".repeat(64), rowCount: 0, rawBytes: 0 },
    };
  },
});

const claimOldest: NonNullable<WorkerOptions["claimFair"]> =
  (db) =>
  async ({ wanted }) => {
    const { rows } = await db.system.query({
      name: "claim_oldest",
      text: `UPDATE runs r SET status = 'running', attempt = r.attempt + 1, attempt_token = gen_random_uuid(), worker = 'fifo',
  lease_until = now() + interval '30 seconds', started_at = coalesce(r.started_at, now()), progress = NULL, updated_at = now()
WHERE r.id = ANY (ARRAY(SELECT w.id FROM runs w WHERE w.status = 'queued' AND w.available_at <= now()
  ORDER BY w.available_at, w.id LIMIT $1 FOR UPDATE SKIP LOCKED))
RETURNING ${RUN_COLUMNS}, r.attempt_token AS "attemptToken"`,
      values: [wanted],
    });
    const runs = rows.map((row) => ClaimedRun.parse(row));
    return {
      claims: runs.map((run) => ({
        runId: run.id,
        name: "backup_verify",
        token: run.attemptToken,
        attempt: run.attempt,
        maxAttempts: run.maxAttempts,
        run,
      })),
      othersWait: false,
    };
  };

const worker = await startWorker(readConfig(), { handlers, ...(FIFO === "1" ? { claimFair: claimOldest } : {}) });
serveParent(
  z.object({}),
  async () => undefined,
  () => worker.close(),
);
