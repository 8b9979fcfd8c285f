import { RestorePreviewParams } from "@rowback/jobs";
import { previewRestore } from "@rowback/recovery";
import type { Outcomes } from "../outcomes.ts";
import { targetOf } from "./moment-target.ts";
import { storedBackup } from "./stored-backup.ts";
import { type RunTask, tenantOf, verbContext, type WorkerContext } from "./worker-context.ts";

/** Computes what a restore would change, and changes nothing. */
export async function preview(worker: WorkerContext, task: RunTask): Promise<Outcomes["restore_preview"]> {
  const { targetSourceId, moment, ...wish } = RestorePreviewParams.parse(task.run.params);
  const tenant = await tenantOf(worker, task.run);
  const base = await storedBackup(worker, tenant.id, wish.backupId);
  const target = targetOf(worker.control, tenant, base, moment);
  return await worker.sources.use(targetSourceId ?? task.run.sourceId, async (pooled) => {
    const request = { ...wish, tenantId: tenant.id, tenantKey: tenant.key, manifestSha256: base.manifestSha256 };
    return { kind: "restore_preview", plan: await previewRestore(verbContext(worker, task, pooled), request, target) };
  });
}
