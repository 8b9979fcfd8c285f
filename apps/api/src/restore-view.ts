import type { Restore } from "@rowback/db";
import { z } from "zod";
import { resultOf } from "./run-result.ts";
import { isoOrNull, RunView, toRunView } from "./run-view.ts";

/** What a second person said, where one has to agree. `withdrawn`: the restore was cancelled before anybody did. */
const Approval = z
  .object({
    state: z.enum(["waiting", "approved", "rejected", "expired", "withdrawn"]),
    expiresAt: z.iso.datetime(),
    decidedBy: z.string().nullable(),
    decidedAt: z.iso.datetime().nullable(),
    comment: z.string().nullable(),
  })
  .meta({ id: "RestoreApproval" });

/** A restore or a preview of one, with its run's members; its id is its run's. */
export const RestoreView = RunView.extend({
  kind: z.enum(["restore_preview", "restore"]),
  result: z.unknown().meta(resultOf("restore_preview", "restore")),
  tenantId: z.uuid(),
  backupId: z.uuid(),
  moment: z
    .object({ asked: z.unknown(), limit: z.unknown() })
    .nullable()
    .meta({ description: "The moment that was asked for; the backup is then its base. Null: the backup itself." }),
  targetSourceId: z.uuid(),
  mode: z.enum(["exact", "missing_only"]),
  tables: z.array(z.string()).nullable(),
  keys: z.array(z.object({ table: z.string(), keys: z.array(z.array(z.string())) })).nullable(),
  previewId: z.uuid().nullable(),
  planDigest: z.string().nullable().meta({ description: "Of a preview: what POST /v1/restores must quote." }),
  preRestoreBackupId: z.uuid().nullable().meta({ description: "What an undo brings back." }),
  undoOf: z.uuid().nullable(),
  approval: Approval.nullable().meta({ description: "Null where no second person has to agree." }),
  changes: z.unknown().meta({ description: "Row counts per table." }),
}).meta({ id: "Restore" });
export type RestoreView = z.infer<typeof RestoreView>;

export function toRestoreView(restore: Restore): RestoreView {
  return {
    ...toRunView(restore),
    kind: restore.kind,
    tenantId: restore.tenantId,
    backupId: restore.backupId,
    moment: restore.moment,
    targetSourceId: restore.targetSourceId,
    mode: restore.mode,
    tables: restore.tables,
    keys: restore.keys,
    previewId: restore.previewRunId,
    planDigest: restore.planDigest,
    preRestoreBackupId: restore.preRestoreBackupId,
    undoOf: restore.undoOf,
    approval: toApproval(restore),
    changes: restore.changes,
  };
}

function toApproval(restore: Restore): z.infer<typeof Approval> | null {
  if (restore.approvalExpiresAt === null) return null;
  return {
    state: restore.approvalDecision ?? (restore.status === "awaiting_approval" ? "waiting" : "withdrawn"),
    expiresAt: restore.approvalExpiresAt.toISOString(),
    decidedBy: restore.approvalDecidedBy,
    decidedAt: isoOrNull(restore.approvalDecidedAt),
    comment: restore.approvalComment,
  };
}
