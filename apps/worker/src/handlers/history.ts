import { HistoryParams } from "@rowback/jobs";
import { readHistory } from "@rowback/recovery";
import type { Outcomes } from "../outcomes.ts";
import { baseOf, segmentsOf } from "./moment-target.ts";
import { storedBackup, whileStored } from "./stored-backup.ts";
import { type RunTask, tenantOf, type WorkerContext } from "./worker-context.ts";

/** Follows one row through the change log. The source is not asked. */
export async function history(worker: WorkerContext, task: RunTask): Promise<Outcomes["history"]> {
  const { backupId, epoch, ...wish } = HistoryParams.parse(task.run.params);
  const tenant = await tenantOf(worker, task.run);
  const base = await storedBackup(worker, tenant.id, backupId);
  const request = { ...wish, ...baseOf(tenant, base), segments: segmentsOf(worker.control, tenant, epoch, null) };
  const ctx = { store: worker.store, keys: worker.keys, signal: task.signal };
  return { kind: "history", result: await whileStored(worker, base, () => readHistory(ctx, request)) };
}
