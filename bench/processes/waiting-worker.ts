import { setTimeout as sleep } from "node:timers/promises";
import { startWorker, type WorkerOptions } from "@rowback/worker";
import { readConfig } from "@rowback/worker/config";
import { z } from "zod";
import { serveParent } from "../child-process.ts";

/** The worker as it is, but for its handlers: a verification takes `JOB_MS` milliseconds and comes to nothing. */
const { JOB_MS } = z.object({ JOB_MS: z.coerce.number() }).parse(process.env);
const refuse = async (): Promise<never> => {
  throw new Error("this worker verifies only");
};
const handlers: NonNullable<WorkerOptions["handlers"]> = () => ({
  discovery: refuse,
  backup: refuse,
  restore_preview: refuse,
  restore: refuse,
  tenant_erase: refuse,
  backup_verify: async ({ run }) => {
    await sleep(JOB_MS);
    return {
      kind: "backup_verify",
      result: { backupId: run.id, manifestSha256: "0".repeat(64), rowCount: 0, rawBytes: 0 },
    };
  },
});

const worker = await startWorker(readConfig(), { handlers });
serveParent(
  z.object({}),
  async () => undefined,
  () => worker.close(),
);
