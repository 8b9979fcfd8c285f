import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { allRows, firstRow } from "../rows.ts";
import { WORKER_USER } from "./audit-log.ts";
import { BACKUP_COLUMNS, Backup } from "./backup-row.ts";
import { getBackup, listChain, listDependents } from "./backups.ts";

export type SoftDeleteResult =
  /** Hidden now; gone for good after the tenant's grace. Also the answer when it was deleted before. */
  | { readonly outcome: "deleted"; readonly backup: Backup }
  /** Its run is queued or running: cancel it first. */
  | { readonly outcome: "in_progress"; readonly backup: Backup }
  /** Other backups stand on it. */
  | { readonly outcome: "has_dependents"; readonly dependents: readonly string[] };

// What stands on it, and on that, and so on; a failed one stands on nothing.
const DEPENDENTS = `SELECT d.run_id FROM backup_jobs d JOIN runs dr ON dr.id = d.run_id
  WHERE d.deleted_at IS NULL AND dr.status NOT IN ('failed', 'cancelled')`;

/** Hides a backup. Null when there is none (or it is another tenant's). */
export async function softDeleteBackup(q: Queryable, backupId: string): Promise<SoftDeleteResult | null> {
  const result = await q.query({
    text: `UPDATE backup_jobs b SET deleted_at = coalesce(b.deleted_at, now()) FROM runs r
WHERE b.run_id = $1 AND r.id = b.run_id AND b.purged_at IS NULL AND r.status NOT IN ('queued', 'running')
  AND NOT EXISTS (${DEPENDENTS} AND (d.parent_backup_id = b.run_id OR d.base_backup_id = b.run_id))
RETURNING ${BACKUP_COLUMNS}`,
    values: [backupId],
  });
  const deleted = firstRow(result, Backup);
  if (deleted !== null) return { outcome: "deleted", backup: deleted };
  const backup = await getBackup(q, backupId);
  if (backup === null || backup.purgedAt !== null) return null;
  if (backup.status === "queued" || backup.status === "running") return { outcome: "in_progress", backup };
  return { outcome: "has_dependents", dependents: await listDependents(q, backupId) };
}

/**
 * Hides a backup and all that stand on it, in one statement. Null when there is none; `in_progress` names one of them whose run is queued or
 * running, and nothing was hidden.
 */
export async function softDeleteChain(
  q: Queryable,
  backupId: string,
): Promise<Exclude<SoftDeleteResult, { outcome: "has_dependents" }> | null> {
  const result = await q.query({
    text: `WITH RECURSIVE going (run_id) AS (
  SELECT $1::uuid
  UNION SELECT d.run_id FROM backup_jobs d JOIN runs dr ON dr.id = d.run_id
    JOIN going g ON d.parent_backup_id = g.run_id OR d.base_backup_id = g.run_id
  WHERE d.deleted_at IS NULL AND dr.status NOT IN ('failed', 'cancelled'))
UPDATE backup_jobs b SET deleted_at = coalesce(b.deleted_at, now()) FROM going, runs r
WHERE b.run_id = going.run_id AND r.id = b.run_id AND b.purged_at IS NULL AND NOT EXISTS (
  SELECT FROM going g JOIN runs gr ON gr.id = g.run_id WHERE gr.status IN ('queued', 'running'))
RETURNING ${BACKUP_COLUMNS}`,
    values: [backupId],
  });
  const deleted = allRows(result, Backup).find(({ id }) => id === backupId);
  if (deleted !== undefined) return { outcome: "deleted", backup: deleted };
  const backup = await getBackup(q, backupId);
  return backup === null || backup.purgedAt !== null ? null : { outcome: "in_progress", backup };
}

export type UndeleteResult =
  | { readonly outcome: "restored"; readonly backup: Backup }
  /** Its objects are being removed from the store, or are gone. */
  | { readonly outcome: "purged" }
  /** It stands on these, which are deleted too. */
  | { readonly outcome: "stands_on_deleted"; readonly deleted: readonly string[] };

/** Shows a deleted backup again. Null when there is none. One that was not deleted is simply returned. */
export async function undeleteBackup(q: Queryable, backupId: string): Promise<UndeleteResult | null> {
  const result = await q.query({
    text: `UPDATE backup_jobs b SET deleted_at = NULL FROM runs r
WHERE b.run_id = $1 AND r.id = b.run_id AND b.purge_started_at IS NULL AND NOT EXISTS (
  SELECT FROM backup_jobs p WHERE p.run_id IN (b.parent_backup_id, b.base_backup_id) AND p.deleted_at IS NOT NULL)
RETURNING ${BACKUP_COLUMNS}`,
    values: [backupId],
  });
  const backup = firstRow(result, Backup);
  if (backup !== null) return { outcome: "restored", backup };
  const chain = await listChain(q, backupId);
  const own = chain.at(-1);
  if (own === undefined) return null;
  if (own.purgeStartedAt !== null) return { outcome: "purged" };
  const deleted = chain.slice(0, -1).filter(({ deletedAt }) => deletedAt !== null);
  return { outcome: "stands_on_deleted", deleted: deleted.map(({ id }) => id) };
}

const Purgeable = z.object({ id: z.uuid(), tenantId: z.uuid(), sourceId: z.uuid() });
export type PurgeableBackup = z.infer<typeof Purgeable>;

// Past its tenant's grace; nothing that is still stored, or still to be made, stands on it; no restore reads it. The rows
// without settings have the default that the table gives.
const PURGEABLE = `b.deleted_at IS NOT NULL AND b.purged_at IS NULL
  AND (b.purge_started_at IS NOT NULL OR b.deleted_at <= now() - interval '1 hour' *
    coalesce((SELECT s.deleted_backup_grace_hours FROM tenant_settings s WHERE s.tenant_id = b.tenant_id), 168))
  AND NOT EXISTS (SELECT FROM backup_jobs d JOIN runs dr ON dr.id = d.run_id
    WHERE (d.parent_backup_id = b.run_id OR d.base_backup_id = b.run_id) AND d.purged_at IS NULL AND dr.status NOT IN ('failed', 'cancelled'))
  AND NOT EXISTS (SELECT FROM restore_jobs j JOIN runs r ON r.id = j.run_id
    WHERE j.backup_id = b.run_id AND r.status IN ('awaiting_approval', 'queued', 'running'))`;

/** Deleted backups whose objects may go, and those whose purge began and did not end (a crash). */
export async function listPurgeable(q: Queryable, limit: number): Promise<PurgeableBackup[]> {
  const result = await q.query({
    text: `SELECT b.run_id AS id, b.tenant_id AS "tenantId", b.source_id AS "sourceId" FROM backup_jobs b
WHERE ${PURGEABLE} ORDER BY b.deleted_at LIMIT $1`,
    values: [limit],
  });
  return allRows(result, Purgeable);
}

/**
 * The point of no return, before the first object is removed: from here on undeleting is refused. False: it is not
 * purgeable (any more), so its objects must stay.
 */
export async function beginPurge(q: Queryable, backupId: string): Promise<boolean> {
  const result = await q.query({
    text: `UPDATE backup_jobs b SET purge_started_at = coalesce(b.purge_started_at, now()) WHERE b.run_id = $1 AND ${PURGEABLE}`,
    values: [backupId],
  });
  return result.rowCount === 1;
}

/** Records that no object of the backup is left, by this worker. False: no purge of it had begun, or it was recorded before. */
export async function markPurged(q: Queryable, backupId: string, worker: string): Promise<boolean> {
  const result = await q.query({
    text: `WITH purged AS (
  UPDATE backup_jobs SET purged_at = now() WHERE run_id = $1 AND purge_started_at IS NOT NULL AND purged_at IS NULL
  RETURNING run_id, tenant_id, source_id, deleted_at, object_count, stored_bytes)
INSERT INTO audit_log (user_id, action, tenant_id, source_id, run_id, before, after)
SELECT $2, 'backup.purge', p.tenant_id, p.source_id, p.run_id,
  jsonb_build_object('deletedAt', p.deleted_at, 'objects', p.object_count, 'storedBytes', p.stored_bytes),
  jsonb_build_object('purged', true, 'worker', $3::text)
FROM purged p`,
    values: [backupId, WORKER_USER, worker],
  });
  return result.rowCount === 1;
}
