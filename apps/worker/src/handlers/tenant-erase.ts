import { finishErasure, getErasure, hasLiveRuns, insertAuditEntry, withSystem } from "@rowback/db";
import { TenantEraseParams } from "@rowback/jobs";
import { purgeTenant } from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";
import { ErasureCertificate } from "@rowback/recovery/plans";
import { ofControlDatabase } from "../control.ts";
import type { Outcomes } from "../outcomes.ts";
import type { RunTask, WorkerContext } from "./worker-context.ts";

/** Purges what is stored of a tenant whose key was destroyed; repeated until nothing is left. */
export async function erase(worker: WorkerContext, task: RunTask): Promise<Outcomes["tenant_erase"]> {
  const { id: runId, tenantId, params } = task.run;
  TenantEraseParams.parse(params);
  const erasure = tenantId === null ? null : await getErasure(worker.control, tenantId);
  if (tenantId === null || erasure === null)
    throw new RecoveryError("conflict", "The tenant was not erased.", { runId });
  if (await hasLiveRuns(worker.control, tenantId, runId)) throw othersRun(tenantId, runId);
  const purged = await purgeTenant({ store: worker.leasedStore(task), signal: task.signal }, tenantId);
  await ofControlDatabase(
    withSystem(worker.db, async (client) => {
      if (!(await finishErasure(client, tenantId))) return;
      const { requestedBy: userId, sourceId, worker: name } = task.run;
      const after = { purged: true, ...purged, worker: name };
      await insertAuditEntry(client, { userId, action: "tenant.purge", tenantId, sourceId, runId, after });
    }),
  );
  const { digest: certificateDigest } = ErasureCertificate.parse(erasure.certificate);
  return { kind: "tenant_erase", result: { ...purged, certificateDigest } };
}

/** They were told to end; until they have, they could write what nobody would delete. */
function othersRun(tenantId: string, runId: string): RecoveryError {
  return new RecoveryError("conflict", "Other runs of the tenant have not ended yet.", {
    tenantId,
    runId,
    hint: "They were cancelled when the tenant was erased; the purge tries again by itself.",
    retryable: true,
  });
}
