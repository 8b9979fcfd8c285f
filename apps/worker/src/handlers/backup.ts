import { type ClaimedRun, getSource, getTenantSettings, storedBytes, withTenant } from "@rowback/db";
import { BackupParams, BackupResult } from "@rowback/jobs";
import { type BackupOutcome, backupTenant } from "@rowback/recovery";
import { tableLabel } from "@rowback/recovery/plans";
import { ofControlDatabase } from "../control.ts";
import type { Outcomes } from "../outcomes.ts";
import { backUpOfLog, isFromLog } from "./backup-from-log.ts";
import { type RunTask, tenantOf, verbContext, type WorkerContext } from "./worker-context.ts";

/** Backs up the run's tenant, within what its quota leaves. */
export async function backUp(worker: WorkerContext, task: RunTask): Promise<Outcomes["backup"]> {
  const { run } = task;
  const params = BackupParams.parse(run.params);
  const [tenant, maxStoredBytes, encryption] = await Promise.all([
    tenantOf(worker, run),
    bytesLeft(worker, run),
    wantsEncryption(worker, run),
  ]);
  if (isFromLog(params)) {
    return backupOutcome(run.id, await backUpOfLog(worker, task, params, maxStoredBytes));
  }
  return await worker.sources.use(params.targetSourceId ?? run.sourceId, async (pooled) => {
    const outcome = await backupTenant(verbContext(worker, task, pooled), {
      backupId: run.id,
      tenantId: tenant.id,
      tenantKey: tenant.key,
      tables: params.tables,
      catalogCache: pooled.catalogCache,
      maxStoredBytes,
      mayBeAbsent: params.purpose === "pre_restore",
      compression: worker.compression,
      encrypt: encryption || pooled.encryption,
    });
    return backupOutcome(run.id, outcome);
  });
}

function backupOutcome(backupId: string, outcome: BackupOutcome): Outcomes["backup"] {
  return {
    kind: "backup",
    result: BackupResult.parse({ backupId, tableCount: outcome.tables.length, ...outcome }),
    outcome: outcomeRow(outcome),
  };
}

/** The tenant's own source decides also for what is backed up of another database before a restore into it. */
async function wantsEncryption(worker: WorkerContext, { sourceId }: ClaimedRun): Promise<boolean> {
  return (await getSource(worker.control, sourceId))?.encryption ?? false;
}

/** What the tenant may still store; null without a quota. */
async function bytesLeft(worker: WorkerContext, { tenantId }: ClaimedRun): Promise<number | null> {
  if (tenantId === null) return null;
  const { storageQuotaBytes } = await getTenantSettings(worker.control, tenantId);
  if (storageQuotaBytes === null) return null;
  const stored = await ofControlDatabase(withTenant(worker.db, tenantId, storedBytes));
  return Math.max(0, storageQuotaBytes - stored);
}

function outcomeRow(outcome: BackupOutcome): Outcomes["backup"]["outcome"] {
  return { ...outcome, tables: outcome.tables.map((stats) => ({ ...stats, table: tableLabel(stats.table) })) };
}
