import { endEpoch, insertAuditEntry, insertGaps, listEpochs, turnCaptureOff, withSystem } from "@rowback/db";
import { CaptureTeardownParams } from "@rowback/jobs";
import { captureNames, type Gap, putGap, tearDownCapture } from "@rowback/recovery";
import { gapRow } from "../capture-ledger.ts";
import { ofControlDatabase } from "../control.ts";
import type { Outcomes } from "../outcomes.ts";
import type { RunTask, WorkerContext } from "./worker-context.ts";

/** Ends the capture: whoever captures loses the lease first, then the slot is dropped, and with it what was not read yet. */
export async function tearDown(worker: WorkerContext, task: RunTask): Promise<Outcomes["capture_teardown"]> {
  CaptureTeardownParams.parse(task.run.params);
  const { sourceId } = task.run;
  await turnCaptureOff(worker.control, sourceId);
  const last = (await listEpochs(worker.control, sourceId)).at(-1) ?? null;
  if (last !== null && last.endedAt === null) await declareEnd(worker, task, last);
  await worker.sources.use(sourceId, ({ source }) => tearDownCapture({ source, signal: task.signal }));
  return { kind: "capture_teardown", result: { ...captureNames(sourceId), epoch: last?.epoch ?? null } };
}

/** What comes after the covered position is not logged any more. */
async function declareEnd(
  worker: WorkerContext,
  { run, signal }: RunTask,
  { epoch, coveredLsn, coveredAt }: { epoch: number; coveredLsn: string; coveredAt: bigint },
): Promise<void> {
  const { sourceId } = run;
  const everything = { tenantKey: null, table: null, causeXid: null };
  const gap: Gap = { reason: "capture_off", beginsLsn: coveredLsn, beginsAt: coveredAt.toString(), ...everything };
  const objectKey = await putGap(worker.store, sourceId, epoch, gap, signal);
  await ofControlDatabase(
    withSystem(worker.db, async (client) => {
      await insertGaps(client, [gapRow(sourceId, epoch, gap, objectKey)]);
      await endEpoch(client, sourceId);
      await insertAuditEntry(client, {
        userId: run.requestedBy,
        action: "capture.stop",
        sourceId,
        runId: run.id,
        before: { epoch, coveredLsn },
        after: { worker: run.worker },
      });
    }),
  );
}
