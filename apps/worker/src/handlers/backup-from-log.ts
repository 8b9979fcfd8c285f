import { type ClaimedRun, getCaptureState } from "@rowback/db";
import type { BackupParams } from "@rowback/jobs";
import { type BackupOutcome, backUpFromLog } from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";
import { captureInClear } from "@rowback/recovery/plans";
import { chainOf } from "./chain-links.ts";
import { epochBehind, untilLogged } from "./log-reach.ts";
import { segmentsOf } from "./moment-target.ts";
import { whileStored } from "./stored-backup.ts";
import { type RunTask, tenantOf, verbContext, type WorkerContext } from "./worker-context.ts";

/** What a run asks for whose rows come of an earlier backup and the change log. */
type LogBackupParams = BackupParams & {
  readonly type: "incremental" | "synthetic_full";
  readonly parentBackupId: string;
};

export function isFromLog(params: BackupParams): params is LogBackupParams {
  return params.type !== undefined && params.type !== "full" && params.parentBackupId !== undefined;
}

/** Backs up the run's tenant without reading a row from its source. */
export async function backUpOfLog(
  worker: WorkerContext,
  task: RunTask,
  { type, parentBackupId }: LogBackupParams,
  maxStoredBytes: number | null,
): Promise<BackupOutcome> {
  const { run, signal } = task;
  const { control } = worker;
  const tenant = await tenantOf(worker, run);
  const { base, links } = await chainOf(control, tenant.id, parentBackupId);
  const epoch = await epochBehind(control, tenant, base.id);
  const publicationName = await publicationOf(worker, run);
  return await worker.sources.use(run.sourceId, async (pooled) => {
    if (pooled.encryption) throw captureInClear(run.sourceId);
    const wish = {
      backupId: run.id,
      tenantId: tenant.id,
      tenantKey: tenant.key,
      type,
      links,
      publicationName,
      catalogCache: pooled.catalogCache,
      maxStoredBytes,
      compression: worker.compression,
      caughtUp: (lsn: string) =>
        untilLogged(control, tenant, { baseId: base.id, lsn, waitMs: worker.logWaitMs, signal }),
      segments: (fromXid: bigint, lsn: string) => segmentsOf(control, tenant, epoch, { kind: "lsn", lsn })(fromXid),
    };
    // A synthetic full one has no parent in its row, so the purge of what it is made from does not wait for it.
    return await whileStored(worker, { id: parentBackupId, tenantId: tenant.id }, () =>
      backUpFromLog(verbContext(worker, task, pooled), wish),
    );
  });
}

async function publicationOf({ control }: WorkerContext, { sourceId, tenantId }: ClaimedRun): Promise<string> {
  const state = await getCaptureState(control, sourceId);
  if (state !== null) return state.publicationName;
  throw new RecoveryError("moment_unreachable", "The source's changes are not captured.", {
    tenantId: tenantId ?? undefined,
    sourceId,
    hint: "Take a full backup.",
  });
}
