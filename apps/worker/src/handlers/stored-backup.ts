import { type Backup, getBackup } from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import type { WorkerContext } from "./worker-context.ts";

/** A backup of this tenant that succeeded and is still in the store. Throws `not_found`. */
export async function storedBackup(worker: WorkerContext, tenantId: string, backupId: string): Promise<Backup> {
  const backup = await getBackup(worker.control, backupId);
  if (
    backup === null ||
    backup.tenantId !== tenantId ||
    backup.status !== "succeeded" ||
    backup.purgeStartedAt !== null
  ) {
    throw new RecoveryError("not_found", `Backup ${backupId} is not there any more.`, {
      tenantId,
      hint: "Choose another backup; this one was deleted or never succeeded.",
    });
  }
  return backup;
}
