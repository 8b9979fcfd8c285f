import { BackupVerifyParams } from "@rowback/jobs";
import { verifyBackup } from "@rowback/recovery";
import type { Outcomes } from "../outcomes.ts";
import { chainTarget } from "./moment-target.ts";
import { storedBackup, whileStored } from "./stored-backup.ts";
import { type RunTask, tenantOf, type WorkerContext } from "./worker-context.ts";

/**
 * Reads every byte of a backup, and of all that an incremental one stands on; a damaged one fails the run with `archive_damaged`, one below it
 * with `chain_broken`; one that is deleted meanwhile, with `not_found`. The source is not asked.
 */
export async function verify(worker: WorkerContext, task: RunTask): Promise<Outcomes["backup_verify"]> {
  const { backupId } = BackupVerifyParams.parse(task.run.params);
  const tenant = await tenantOf(worker, task.run);
  const backup = await storedBackup(worker, tenant.id, backupId);
  const { store, keys } = worker;
  const ctx = { store, keys, signal: task.signal, onProgress: task.report.bind(task) };
  const outcome = await whileStored(worker, backup, () =>
    verifyBackup(
      ctx,
      { tenantId: tenant.id, backupId, expectManifestSha256: backup.manifestSha256 },
      backup.type === "incremental" ? () => chainTarget(worker.control, tenant, backup)(ctx) : undefined,
    ),
  );
  return { kind: "backup_verify", result: { backupId, ...outcome } };
}
