import {
  beginEpoch,
  type CaptureEpoch,
  type CaptureLease,
  insertAuditEntry,
  insertBackupRun,
  insertGaps,
  listTenants,
  markRebased,
  renewCapture,
  WORKER_USER,
  withSystem,
} from "@rowback/db";
import { type BackupParams, JOBS } from "@rowback/jobs";
import { createSlot, dropSlot, type Gap, putGap, type Source } from "@rowback/recovery";
import { gapRow, leaseLost } from "./capture-ledger.ts";
import { ofControlDatabase } from "./control.ts";
import type { WorkerContext } from "./handlers/worker-context.ts";

/** The lease must outlive the transaction that begins the epoch. */
const LEASE_MS = 6_000;
const PAGE = 500;

/**
 * Makes a new slot in the place of a lost one, and declares what lies between as a gap. Repeated after a crash anywhere: a slot that
 * belongs to no epoch is dropped, a gap is declared once.
 * @throws RecoveryError `lease_lost`, `source_*`, `store_*`
 */
export async function healLostSlot(
  worker: WorkerContext,
  source: Source,
  lease: CaptureLease,
  names: { readonly slotName: string; readonly publicationName: string; readonly worker: string | null },
  lost: CaptureEpoch,
  signal: AbortSignal,
): Promise<void> {
  worker.log.error({ sourceId: source.id, epoch: lost.epoch }, "the source's slot is lost; the change log begins anew");
  const gap: Gap = {
    reason: "slot_lost",
    tenantKey: null,
    table: null,
    beginsLsn: lost.coveredLsn,
    beginsAt: lost.coveredAt.toString(),
    causeXid: null,
  };
  const objectKey = await putGap(worker.store, source.id, lost.epoch, gap, signal);
  await dropSlot(source, names.slotName, signal);
  const start = await createSlot(source, names, signal);
  await ofControlDatabase(
    withSystem(worker.db, async (client) => {
      // Holds the row until the commit: nobody takes the capture in between.
      if ((await renewCapture(client, lease, LEASE_MS)) === null) throw leaseLost(source.id);
      await insertGaps(client, [gapRow(source.id, lost.epoch, gap, objectKey)]);
      const epoch = await beginEpoch(client, { sourceId: source.id, ...start, rebase: true });
      await insertAuditEntry(client, {
        userId: WORKER_USER,
        action: "capture.heal",
        sourceId: source.id,
        before: { epoch: lost.epoch, coveredLsn: lost.coveredLsn },
        after: { epoch, startLsn: start.startLsn, gap: gap.reason, worker: names.worker },
      });
    }),
  );
}

/** Asks for a full backup of every tenant of the source. Asked again after a crash, it finds those that were asked for. */
export async function rebase(
  worker: WorkerContext,
  sourceId: string,
  epoch: number,
  enqueue: (runIds: readonly string[]) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const params: BackupParams = { tables: null, purpose: "rebase" };
  let cursor: string | undefined;
  let asked = 0;
  do {
    signal.throwIfAborted();
    const page = await listTenants(worker.control, { sourceId }, { limit: PAGE, cursor });
    const runIds: string[] = [];
    for (const tenant of page.items) {
      if (tenant.erasedAt !== null) continue;
      const idempotency = { key: `rebase-${epoch}`, digest: `rebase-${epoch}` };
      const run = { tenantId: tenant.id, sourceId, maxAttempts: JOBS.backup.attempts, params, requestedBy: "capture" };
      const inserted = await insertBackupRun(
        worker.control,
        { ...run, idempotency },
        { type: "full", purpose: "rebase", tables: null },
      );
      if (inserted.outcome === "created") runIds.push(inserted.run.id);
    }
    await enqueue(runIds);
    asked += runIds.length;
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  await markRebased(worker.control, sourceId, epoch);
  worker.log.warn({ sourceId, backups: asked }, "full backups of all tenants were asked for, to begin the log anew");
}
