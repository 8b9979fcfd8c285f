import { BackupVerifyParams } from "@rowback/jobs";
import { verifyBackup } from "@rowback/recovery";
import type { Outcomes } from "../outcomes.ts";
import { storedBackup } from "./stored-backup.ts";
import { type RunTask, tenantOf, type WorkerContext } from "./worker-context.ts";

/** Reads every byte of a backup; a damaged one fails the run with `archive_damaged`. The source is not asked. */
export async function verify(worker: WorkerContext, task: RunTask): Promise<Outcomes["backup_verify"]> {
  const { backupId } = BackupVerifyParams.parse(task.run.params);
  const tenant = await tenantOf(worker, task.run);
  const backup = await storedBackup(worker, tenant.id, backupId);
  const outcome = await verifyBackup(
    { store: worker.store, keys: worker.keys, signal: task.signal, onProgress: (progress) => task.report(progress) },
    { tenantId: tenant.id, backupId, expectManifestSha256: backup.manifestSha256 },
  );
  return { kind: "backup_verify", result: { backupId, ...outcome } };
}
