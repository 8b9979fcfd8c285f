import { type ClaimedRun, getRestore, getRun, type Tenant } from "@rowback/db";
import { type ApplyRestoreParams, RestoreParams, type UndoRestoreParams } from "@rowback/jobs";
import type { OpenTarget } from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";
import { changedTables, RestoreExpectation, RestorePlan, type RestoreRequest } from "@rowback/recovery/plans";
import { targetOf } from "./moment-target.ts";
import { storedBackup } from "./stored-backup.ts";
import type { WorkerContext } from "./worker-context.ts";

/** A restore as its run asks for it, ready to be applied. */
export interface PlannedRestore {
  readonly request: RestoreRequest;
  /** How to open what is brought back, where that is a moment and not the backup itself. */
  readonly openTarget: OpenTarget | undefined;
  /** The database that is changed. */
  readonly sourceId: string;
  /** What must still be true of the live data; null: whatever is there may be overwritten. */
  readonly expect: RestoreExpectation | null;
  /** `schema.table` of what the pre-restore backup has to hold; null: everything; empty: nothing will change. */
  readonly changes: readonly string[] | null;
  readonly undoOf: string | null;
}

/** Reads what a restore's run refers to: the preview it applies, or the restore it takes back. */
export async function planRestore(worker: WorkerContext, run: ClaimedRun, tenant: Tenant): Promise<PlannedRestore> {
  const params = RestoreParams.parse(run.params);
  const planned =
    "undoOf" in params ? await planUndo(worker, tenant, params) : await planApply(worker, run, tenant, params);
  const backup = await storedBackup(worker, tenant.id, planned.request.backupId);
  const { manifestSha256 } = backup;
  const openTarget = targetOf(worker.control, tenant, backup, "undoOf" in params ? null : params.moment);
  return { ...planned, request: { ...planned.request, manifestSha256 }, openTarget };
}

async function planApply(
  worker: WorkerContext,
  run: ClaimedRun,
  tenant: Tenant,
  params: ApplyRestoreParams,
): Promise<Omit<PlannedRestore, "openTarget">> {
  const { previewRunId, planDigest, targetSourceId, moment: _, ...wish } = params;
  const preview = await getRun(worker.control, previewRunId);
  if (preview === null || preview.tenantId !== tenant.id || preview.status !== "succeeded") {
    throw new RecoveryError("not_found", "The restore's preview is not there.", { hint: "Preview again." });
  }
  const plan = RestorePlan.parse(preview.result);
  if (plan.digest !== planDigest) {
    throw new RecoveryError("plan_stale", "The digest is not that of the preview.", { hint: "Preview again." });
  }
  return {
    request: { ...wish, tenantId: tenant.id, tenantKey: tenant.key },
    sourceId: targetSourceId ?? run.sourceId,
    expect: { planDigest },
    changes: firesTriggers(plan) ? null : changedTables(plan),
    undoOf: null,
  };
}

/** A customer's trigger may write to any table, so all of them are kept. */
function firesTriggers(plan: RestorePlan): boolean {
  const changed = new Set(changedTables(plan));
  return (
    plan.triggersMode === "fire" && plan.tables.some((table) => changed.has(table.table) && table.triggers.length > 0)
  );
}

async function planUndo(
  worker: WorkerContext,
  tenant: Tenant,
  params: UndoRestoreParams,
): Promise<Omit<PlannedRestore, "openTarget">> {
  const undone = await getRestore(worker.control, params.undoOf);
  if (undone === null || undone.tenantId !== tenant.id || undone.status !== "succeeded") {
    throw new RecoveryError("not_found", "The restore to undo is not there, or never succeeded.");
  }
  if (undone.preRestoreBackupId === null) {
    throw new RecoveryError("conflict", "The restore changed nothing, so there is nothing to undo.");
  }
  const after = RestoreExpectation.parse({ fingerprints: undone.fingerprintsAfter });
  const tables = "fingerprints" in after ? Object.keys(after.fingerprints) : [];
  return {
    request: {
      tenantId: tenant.id,
      tenantKey: tenant.key,
      backupId: undone.preRestoreBackupId,
      mode: "exact",
      tables,
      keys: null,
      triggers: "suppress",
    },
    sourceId: undone.targetSourceId,
    expect: params.discardNewerChanges ? null : after,
    changes: tables,
    undoOf: undone.id,
  };
}
