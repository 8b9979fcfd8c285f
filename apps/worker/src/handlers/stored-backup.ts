import { type Backup, getBackup } from "@rowback/db";
import { type ErrorCode, RecoveryError } from "@rowback/recovery/errors";
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
    throw notThere(tenantId, backupId);
  }
  return backup;
}

const LOOKS_DAMAGED: readonly ErrorCode[] = [
  "archive_damaged",
  "manifest_invalid",
  "chain_broken",
  "change_log_damaged",
];

/**
 * Reads a backup for somebody whom its purge does not wait for (who deletes a backup wants it gone, not verified): what looks damaged then may be
 * only deleted, and nobody shall be told that his store loses what it was given.
 *
 * @throws RecoveryError `not_found` where it was deleted meanwhile; else what `read` throws
 */
export async function whileStored<T>(
  worker: WorkerContext,
  { id, tenantId }: Pick<Backup, "id" | "tenantId">,
  read: () => Promise<T>,
): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof RecoveryError) || !LOOKS_DAMAGED.includes(error.code)) throw error;
    // A purge says that it begins before it removes the first object, so this can't come too early.
    const backup = await storedBackup(worker, tenantId, id);
    throw backup.deletedAt === null ? error : notThere(tenantId, id);
  }
}

function notThere(tenantId: string, backupId: string): RecoveryError {
  return new RecoveryError("not_found", `Backup ${backupId} is not there any more.`, {
    tenantId,
    hint: "Choose another backup; this one was deleted or never succeeded.",
  });
}
