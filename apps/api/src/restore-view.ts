import type { Restore } from "@rowback/db";
import { z } from "zod";
import { resultOf } from "./run-result.ts";
import { RunView, toRunView } from "./run-view.ts";

/** A restore or a preview of one, with its run's members; its id is its run's. */
export const RestoreView = RunView.extend({
  kind: z.enum(["restore_preview", "restore"]),
  result: z.unknown().meta(resultOf("restore_preview", "restore")),
  tenantId: z.uuid(),
  backupId: z.uuid(),
  targetSourceId: z.uuid(),
  mode: z.enum(["exact", "missing_only"]),
  tables: z.array(z.string()).nullable(),
  keys: z.array(z.object({ table: z.string(), keys: z.array(z.array(z.string())) })).nullable(),
  previewId: z.uuid().nullable(),
  planDigest: z.string().nullable().meta({ description: "Of a preview: what POST /v1/restores must quote." }),
  preRestoreBackupId: z.uuid().nullable().meta({ description: "What an undo brings back." }),
  undoOf: z.uuid().nullable(),
  changes: z.unknown().meta({ description: "Row counts per table." }),
}).meta({ id: "Restore" });
export type RestoreView = z.infer<typeof RestoreView>;

export function toRestoreView(restore: Restore): RestoreView {
  return {
    ...toRunView(restore),
    kind: restore.kind,
    tenantId: restore.tenantId,
    backupId: restore.backupId,
    targetSourceId: restore.targetSourceId,
    mode: restore.mode,
    tables: restore.tables,
    keys: restore.keys,
    previewId: restore.previewRunId,
    planDigest: restore.planDigest,
    preRestoreBackupId: restore.preRestoreBackupId,
    undoOf: restore.undoOf,
    changes: restore.changes,
  };
}
