import { randomUUID } from "node:crypto";
import { insertBackupRun, recordPreRestoreBackup, type Tenant } from "@rowback/db";
import type { BackupParams, RestoreResult } from "@rowback/jobs";
import { applyRestore } from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";
import { RestoreExpectation, type RestoreOutcome } from "@rowback/recovery/plans";
import type { Outcomes } from "../outcomes.ts";
import { settleEarlierAttempt, withCommitIntent } from "./restore-commit.ts";
import { type PlannedRestore, planRestore } from "./restore-wish.ts";
import { type RunTask, tenantOf, verbContext, type WorkerContext } from "./worker-context.ts";

/** Backs up what is about to change, applies the plan in one transaction, and says how to undo it. */
export async function restore(worker: WorkerContext, task: RunTask): Promise<Outcomes["restore"]> {
  const committed = await settleEarlierAttempt(worker, task);
  if (committed !== null) return { kind: "restore", result: committed };
  const tenant = await tenantOf(worker, task.run);
  const planned = await planRestore(worker, task.run, tenant);
  const before = await backUpBefore(worker, task, tenant, planned);
  return { kind: "restore", result: await apply(worker, task, planned, before) };
}

interface PreRestoreBackup {
  readonly id: string;
  readonly expect: RestoreExpectation;
}

/** A backup run of its own, with this restore as parent; made anew by every attempt, because live data moves on. */
async function backUpBefore(
  worker: WorkerContext,
  task: RunTask,
  tenant: Tenant,
  { changes, sourceId }: PlannedRestore,
): Promise<PreRestoreBackup | null> {
  if (changes !== null && changes.length === 0) return null;
  const { run } = task;
  const id = randomUUID();
  const tables = changes === null ? null : [...changes];
  const elsewhere = sourceId === run.sourceId ? {} : { targetSourceId: sourceId };
  const params: BackupParams = { tables, purpose: "pre_restore", ...elsewhere };
  const { requestedBy, sourceId: ownSourceId } = run;
  await insertBackupRun(
    worker.control,
    { id, tenantId: tenant.id, sourceId: ownSourceId, maxAttempts: 1, params, parentRunId: run.id, requestedBy },
    { type: "full", purpose: "pre_restore", tables },
  );
  const { outcome } = await task.runChild("backup", id);
  if (!(await recordPreRestoreBackup(worker.control, { runId: run.id, attemptToken: run.attemptToken }, id))) {
    throw new RecoveryError("lease_lost", "The run's lease ended; another worker may have it.");
  }
  const fingerprints = Object.fromEntries(outcome.tables.map(({ table, fingerprint }) => [table, fingerprint]));
  return { id, expect: RestoreExpectation.parse({ fingerprints }) };
}

/**
 * Where the caller gave up on newer changes, the live data must still be what the pre-restore backup holds, so that even
 * those can be brought back; a write in between is worth another attempt.
 */
async function apply(
  worker: WorkerContext,
  task: RunTask,
  { request, sourceId, expect, undoOf, openTarget }: PlannedRestore,
  before: PreRestoreBackup | null,
): Promise<RestoreResult> {
  const resultOf = (outcome: RestoreOutcome): RestoreResult => ({
    ...outcome,
    preRestoreBackupId: before?.id ?? null,
    undoOf,
  });
  try {
    return await worker.sources.use(sourceId, (pooled) =>
      withCommitIntent(worker, task, sourceId, async (announce) =>
        resultOf(
          await applyRestore(
            verbContext(worker, task, pooled),
            {
              ...request,
              expect: expect ?? before?.expect ?? null,
              beforeCommit: (mark, outcome) => announce(mark, resultOf(outcome)),
            },
            openTarget,
          ),
        ),
      ),
    );
  } catch (error) {
    if (expect !== null || !(error instanceof RecoveryError) || error.code !== "plan_stale") throw error;
    throw new RecoveryError(error.code, error.message, {
      ...error.context,
      hint: error.hint,
      cause: error,
      retryable: true,
    });
  }
}
