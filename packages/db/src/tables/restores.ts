import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { cursorAt, type Page, type PageRequest, pageOf, readPage } from "../page.ts";
import { firstRow, Json, jsonb } from "../rows.ts";
import type { RunState } from "../run-states.ts";
import type { TenantClient } from "../tenant-context.ts";
import { finishEntry } from "./audit-log.ts";
import { type InsertRunResult, insertRunWith, type NewRun } from "./insert-run.ts";
import { SUCCEED_RUN } from "./run-claims.ts";
import { RUN_COLUMNS, Run, type RunClaim } from "./run-row.ts";

const RESTORE_MODES = ["exact", "missing_only"] as const;
export type RestoreMode = (typeof RESTORE_MODES)[number];

/** Chosen rows of one table: `schema.table` and the text of their key columns. */
const ChosenKeys = z.object({ table: z.string(), keys: z.array(z.array(z.string())) });
export type ChosenKeys = z.infer<typeof ChosenKeys>;

/** What was asked for, and up to which transaction that reaches; JSON here: recovery knows their shapes. */
export const RestoreMoment = z.object({ asked: Json, limit: Json });
export type RestoreMoment = z.infer<typeof RestoreMoment>;

/** A restore, or a preview of one, with the run it is. `id` is the run's id. */
export const Restore = Run.omit({ kind: true, tenantId: true }).extend({
  kind: z.enum(["restore_preview", "restore"]),
  tenantId: z.uuid(),
  targetSourceId: z.uuid(),
  backupId: z.uuid(),
  /** Where it aims, with the backup as its base; null: at the backup itself. */
  moment: RestoreMoment.nullable(),
  previewRunId: z.uuid().nullable(),
  mode: z.enum(RESTORE_MODES),
  tables: z.array(z.string()).nullable(),
  keys: z.array(ChosenKeys).nullable(),
  planDigest: z.string().nullable(),
  preRestoreBackupId: z.uuid().nullable(),
  undoOf: z.uuid().nullable(),
  changes: Json.nullable(),
  fingerprintsAfter: Json.nullable(),
  /** Until when a second person may agree; null: nobody has to. */
  approvalExpiresAt: z.date().nullable(),
  approvalDecision: z.enum(["approved", "rejected", "expired"]).nullable(),
  approvalDecidedBy: z.string().nullable(),
  approvalDecidedAt: z.date().nullable(),
  approvalComment: z.string().nullable(),
});
export type Restore = z.infer<typeof Restore>;

const RESTORE_COLUMNS = `${RUN_COLUMNS}, j.target_source_id AS "targetSourceId", j.backup_id AS "backupId", j.moment,
  j.preview_run_id AS "previewRunId", j.mode, j.tables, j.keys, j.plan_digest AS "planDigest",
  j.pre_restore_backup_id AS "preRestoreBackupId", j.undo_of AS "undoOf", j.changes, j.fingerprints_after AS "fingerprintsAfter",
  j.approval_expires_at AS "approvalExpiresAt", j.approval_decision AS "approvalDecision",
  j.approval_decided_by AS "approvalDecidedBy", j.approval_decided_at AS "approvalDecidedAt",
  j.approval_comment AS "approvalComment"`;

// What a restore that has to wait asks for, and until when.
const APPROVAL = {
  approval_asked_by: "CASE WHEN r.status = 'awaiting_approval' THEN r.requested_by END",
  approval_expires_at: `CASE WHEN r.status = 'awaiting_approval' THEN now() + interval '1 hour' *
    (SELECT s.restore_approval_hours FROM tenant_settings s WHERE s.tenant_id = r.tenant_id) END`,
};

export interface NewRestore {
  /** Where the rows go; the run's own source, unless another database was asked for. */
  readonly targetSourceId: string;
  readonly backupId: string;
  readonly moment?: RestoreMoment | null | undefined;
  readonly mode: RestoreMode;
  /** `schema.table` names; null: all of the backup. */
  readonly tables: readonly string[] | null;
  readonly keys: readonly ChosenKeys[] | null;
  /** The preview that a restore follows, and its digest, which the live data must still have. */
  readonly previewRunId?: string | undefined;
  readonly planDigest?: string | undefined;
  /** The restore that this one takes back. */
  readonly undoOf?: string | undefined;
}

/**
 * Writes a restore (or a preview) and its run in one statement; a restore awaits approval where its tenant asks for it
 * (`decideRestore`). A second live restore is `restore_in_progress`.
 */
export function insertRestoreRun(
  q: Queryable,
  run: Omit<NewRun, "kind"> & { readonly kind: "restore_preview" | "restore"; readonly tenantId: string },
  restore: NewRestore,
): Promise<InsertRunResult> {
  return insertRunWith(q, run, {
    table: "restore_jobs",
    columns: {
      target_source_id: restore.targetSourceId,
      backup_id: restore.backupId,
      moment: jsonb(restore.moment ?? null),
      preview_run_id: restore.previewRunId ?? null,
      mode: restore.mode,
      tables: jsonb(restore.tables),
      keys: jsonb(restore.keys),
      plan_digest: restore.planDigest ?? null,
      undo_of: restore.undoOf ?? null,
    },
    computed: APPROVAL,
  });
}

/** Notes the backup that was made before anything is changed. False: the lease is lost, nothing was written. */
export async function recordPreRestoreBackup(q: Queryable, claim: RunClaim, backupId: string): Promise<boolean> {
  const result = await q.query({
    text: `UPDATE restore_jobs j SET pre_restore_backup_id = $3 FROM runs r
WHERE j.run_id = $1 AND r.id = j.run_id AND r.attempt_token = $2 AND r.status = 'running'`,
    values: [claim.runId, claim.attemptToken, backupId],
  });
  return result.rowCount === 1;
}

/** What came of a restore or a preview. */
export interface RestoreOutcomeRow {
  /** The run's result; of a preview, the plan. */
  readonly result: unknown;
  readonly planDigest: string;
  /** Counts per table. */
  readonly changes: unknown;
  /** Of the affected tables, after a restore; an undo expects to find them. Null for a preview. */
  readonly fingerprintsAfter: unknown;
}

// How many rows, and never what was in them.
const FINISHED = finishEntry(
  "restore.finish",
  `jsonb_build_object('planDigest', $4::text) || (SELECT jsonb_build_object('inserted', coalesce(sum((c->>'inserted')::bigint), 0),
      'updated', coalesce(sum((c->>'updated')::bigint), 0), 'deleted', coalesce(sum((c->>'deleted')::bigint), 0))
    FROM jsonb_path_query($5::jsonb, '$[*]') c)`,
);

/** Ends the run of a restore or a preview well, with what came of it, in one statement. False: the lease is lost. */
export async function succeedRestoreRun(q: Queryable, claim: RunClaim, outcome: RestoreOutcomeRow): Promise<boolean> {
  const result = await q.query({
    name: "succeed_restore_run",
    text: `WITH run AS (${SUCCEED_RUN}), entry AS (${FINISHED} WHERE run.kind = 'restore')
UPDATE restore_jobs j SET plan_digest = $4, changes = $5, fingerprints_after = $6 FROM run WHERE j.run_id = run.id`,
    values: [
      claim.runId,
      claim.attemptToken,
      jsonb(outcome.result),
      outcome.planDigest,
      jsonb(outcome.changes),
      jsonb(outcome.fingerprintsAfter),
    ],
  });
  return result.rowCount === 1;
}

/** The restore or preview, or null. Under a TenantClient another tenant's is null too. */
export async function getRestore(q: Queryable, runId: string): Promise<Restore | null> {
  const result = await q.query({
    text: `SELECT ${RESTORE_COLUMNS} FROM restore_jobs j JOIN runs r ON r.id = j.run_id WHERE j.run_id = $1`,
    values: [runId],
  });
  return firstRow(result, Restore);
}

export interface RestoreFilter {
  /** Left out: restores, without the previews. */
  readonly kind?: "restore_preview" | "restore" | undefined;
  readonly status?: RunState | undefined;
}

/** The tenant's restores, newest first. Throws InvalidCursorError. */
export async function listRestores(
  client: TenantClient,
  filter: RestoreFilter,
  page: PageRequest,
): Promise<Page<Restore>> {
  const { limit, after } = readPage(page);
  const result = await client.query({
    text: `SELECT ${RESTORE_COLUMNS}, ${cursorAt("r.created_at")} FROM runs r JOIN restore_jobs j ON j.run_id = r.id
WHERE r.tenant_id = $1 AND r.kind = $2 AND ($3::text IS NULL OR r.status = $3)
  AND ($4::timestamptz IS NULL OR (r.created_at, r.id) < ($4, $5::uuid))
ORDER BY r.created_at DESC, r.id DESC LIMIT $6`,
    values: [
      client.tenantId,
      filter.kind ?? "restore",
      filter.status ?? null,
      after?.at ?? null,
      after?.id ?? null,
      limit + 1,
    ],
  });
  return pageOf(result, limit, Restore);
}

/** The last succeeded undo of a restore, or null. */
export async function getUndoOf(q: Queryable, restoreId: string): Promise<Restore | null> {
  const result = await q.query({
    text: `SELECT ${RESTORE_COLUMNS} FROM restore_jobs j JOIN runs r ON r.id = j.run_id
WHERE j.undo_of = $1 AND r.status = 'succeeded' ORDER BY r.created_at DESC LIMIT 1`,
    values: [restoreId],
  });
  return firstRow(result, Restore);
}
