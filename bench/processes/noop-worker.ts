import { startWorker, type WorkerOptions } from "@rowback/worker";
import { readConfig } from "@rowback/worker/config";
import { z } from "zod";
import { serveParent } from "../child-process.ts";

/** The worker as it is, but for its handlers: a backup does nothing and comes to nothing. */
const refuse = async (): Promise<never> => {
  throw new Error("this worker makes backups only");
};
const handlers: NonNullable<WorkerOptions["handlers"]> = () => ({
  discovery: refuse,
  backup_verify: refuse,
  restore_preview: refuse,
  restore: refuse,
  tenant_erase: refuse,
  capture_setup: refuse,
  capture_teardown: refuse,
  restore_point: refuse,
  history: refuse,
  backup: async ({ run }) => {
    const figures = { rowCount: 0, rawBytes: 0, storedBytes: 0, objectCount: 0 };
    return {
      kind: "backup",
      result: { backupId: run.id, tableCount: 0, warnings: [], ...figures },
      outcome: {
        ...figures,
        manifestSha256: "0".repeat(64),
        snapshot: { lsn: "0/0", at: new Date(), pgSnapshot: "10:10:", endLsn: "00000000016b3750" },
        serverVersion: "0",
        tables: [],
      },
    };
  },
});

const worker = await startWorker(readConfig(), { handlers });
serveParent(
  z.object({}),
  async () => undefined,
  () => worker.close(),
);
