import { RestorePointParams } from "@rowback/jobs";
import { writeRestorePoint } from "@rowback/recovery";
import { isoOfMicros } from "@rowback/recovery/plans";
import type { Outcomes } from "../outcomes.ts";
import type { RunTask, WorkerContext } from "./worker-context.ts";

/** Writes a named point into the source's WAL. An attempt that comes again writes another message; the last one counts. */
export async function restorePoint(worker: WorkerContext, task: RunTask): Promise<Outcomes["restore_point"]> {
  const { name } = RestorePointParams.parse(task.run.params);
  return await worker.sources.use(task.run.sourceId, async ({ source }) => {
    const point = await writeRestorePoint(source, name, task.signal);
    return { kind: "restore_point", point, result: { name, lsn: point.lsn, at: isoOfMicros(point.at) } };
  });
}
