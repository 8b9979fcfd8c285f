import { getCaptureState } from "@rowback/db";
import { CaptureSetupParams, CaptureSetupResult } from "@rowback/jobs";
import { setUpCapture } from "@rowback/recovery";
import { captureInClear } from "@rowback/recovery/plans";
import type { Outcomes } from "../outcomes.ts";
import type { RunTask, WorkerContext } from "./worker-context.ts";

/** Makes the source's publication and slot, or brings them up to date; a worker then takes the capture up by itself. */
export async function setUp(worker: WorkerContext, task: RunTask): Promise<Outcomes["capture_setup"]> {
  CaptureSetupParams.parse(task.run.params);
  const state = await getCaptureState(worker.control, task.run.sourceId);
  return await worker.sources.use(task.run.sourceId, async (pooled) => {
    if (pooled.encryption) throw captureInClear(task.run.sourceId);
    const capture = await setUpCapture({ ...pooled, signal: task.signal }, { captured: state?.status === "on" });
    return {
      kind: "capture_setup",
      capture,
      result: (epoch) =>
        CaptureSetupResult.parse({
          ...capture,
          epoch,
          isNew: capture.start !== null,
          capturedTables: capture.tables.length,
        }),
    };
  });
}
