import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { cursorAt, type Page, type PageRequest, pageOf, readPage } from "../page.ts";
import { allRows, firstRow, Int8, jsonb } from "../rows.ts";
import type { RunState } from "../run-states.ts";
import type { TenantClient } from "../tenant-context.ts";
import { finishEntry } from "./audit-log.ts";
import {
  BACKUP_COLUMNS,
  Backup,
  type BackupOrigin,
  type BackupPurpose,
  type BackupType,
  type TableStats,
} from "./backup-row.ts";
import { type InsertRunResult, insertRunWith, type NewRun } from "./insert-run.ts";
import { SUCCEED_RUN } from "./run-claims.ts";
import type { RunClaim } from "./run-row.ts";

export interface NewBackup {
  readonly type: BackupType;
  readonly purpose: BackupPurpose;
  /** `schema.table` names; null: every protected table. */
  readonly tables: readonly string[] | null;
  /** `source` unless told. */
  readonly madeFrom?: BackupOrigin;
  /** Of an incremental one: what it stands on, and the full one below all. */
  readonly parent?: { readonly parentBackupId: string; readonly baseBackupId: string };
}

/** Writes a backup and its queued run in one statement. The backup's id is the run's. */
export function insertBackupRun(
  q: Queryable,
  run: Omit<NewRun, "kind"> & { readonly tenantId: string },
  backup: NewBackup,
): Promise<InsertRunResult> {
  return insertRunWith(
    q,
    { ...run, kind: "backup" },
    {
      table: "backup_jobs",
      columns: {
        type: backup.type,
        purpose: backup.purpose,
        parent_backup_id: backup.parent?.parentBackupId ?? null,
        base_backup_id: backup.parent?.baseBackupId ?? null,
        tables: jsonb(backup.tables),
        made_from: backup.madeFrom ?? "source",
      },
    },
  );
}

/** What came of a backup, as `backupTenant` of packages/recovery returns it. */
export interface BackupOutcomeRow {
  readonly rowCount: number;
  readonly rawBytes: number;
  readonly storedBytes: number;
  readonly objectCount: number;
  readonly manifestSha256: string;
  readonly snapshot: {
    readonly lsn: string;
    readonly at: Date;
    /** `pg_current_snapshot()`, and a WAL position read after it (16 hexadecimal digits). */
    readonly pgSnapshot: string;
    readonly endLsn: string;
  };
  readonly serverVersion: string;
  /** The data key that sealed it. */
  readonly keyId?: string | null | undefined;
  readonly tables: readonly TableStats[];
}

const FINISHED = finishEntry(
  "backup.finish",
  "jsonb_build_object('rows', $4::bigint, 'storedBytes', $6::bigint, 'manifestSha256', $8::text)",
);

/**
 * Ends a backup's run well and records what came of it, in one statement: a backup is visible as succeeded together
 * with its outcome or not at all. False: the lease is lost, nothing was written.
 * @param result what the run itself answers, as JSON
 */
export async function succeedBackupRun(
  q: Queryable,
  claim: RunClaim,
  outcome: BackupOutcomeRow,
  result: unknown,
): Promise<boolean> {
  const updated = await q.query({
    name: "succeed_backup_run",
    text: `WITH run AS (${SUCCEED_RUN}), entry AS (${FINISHED})
UPDATE backup_jobs b SET row_count = $4, raw_bytes = $5, stored_bytes = $6, object_count = $7, manifest_sha256 = $8,
  snapshot_lsn = $9, snapshot_at = $10, server_version = $11, table_stats = $12, key_id = $13, snapshot = $14, snapshot_end_lsn = $15
FROM run WHERE b.run_id = run.id`,
    values: [
      claim.runId,
      claim.attemptToken,
      jsonb(result),
      outcome.rowCount,
      outcome.rawBytes,
      outcome.storedBytes,
      outcome.objectCount,
      outcome.manifestSha256,
      outcome.snapshot.lsn,
      outcome.snapshot.at,
      outcome.serverVersion,
      jsonb(outcome.tables),
      outcome.keyId ?? null,
      outcome.snapshot.pgSnapshot,
      outcome.snapshot.endLsn,
    ],
  });
  return updated.rowCount === 1;
}

/** The backup, deleted or not, or null. Under a TenantClient another tenant's backup is null too. */
export async function getBackup(q: Queryable, backupId: string): Promise<Backup | null> {
  const result = await q.query({
    name: "get_backup",
    text: `SELECT ${BACKUP_COLUMNS} FROM backup_jobs b JOIN runs r ON r.id = b.run_id WHERE b.run_id = $1`,
    values: [backupId],
  });
  return firstRow(result, Backup);
}

export interface BackupFilter {
  readonly status?: RunState | undefined;
  readonly type?: BackupType | undefined;
  readonly madeFrom?: BackupOrigin | undefined;
  readonly purpose?: BackupPurpose | undefined;
  /** Created at or after this moment. */
  readonly from?: Date | undefined;
  /** Created before this moment. */
  readonly to?: Date | undefined;
  /** Deleted ones too, until they are purged; left out by default. */
  readonly includeDeleted?: boolean | undefined;
}

/** The tenant's backups, newest first. Throws InvalidCursorError. */
export async function listBackups(
  client: TenantClient,
  filter: BackupFilter,
  page: PageRequest,
): Promise<Page<Backup>> {
  const { limit, after } = readPage(page);
  const values: unknown[] = [client.tenantId];
  const where = ["r.tenant_id = $1", "r.kind = 'backup'", "b.purged_at IS NULL"];
  const and = (sql: string, value: unknown): void => {
    values.push(value);
    where.push(sql.replace("?", `$${values.length}`));
  };
  // Only what was asked for: with `$n IS NULL OR …` the planner could not choose the index by the status.
  if (filter.status !== undefined) and("r.status = ?", filter.status);
  if (filter.type !== undefined) and("b.type = ?", filter.type);
  if (filter.madeFrom !== undefined) and("b.made_from = ?", filter.madeFrom);
  if (filter.purpose !== undefined) and("b.purpose = ?", filter.purpose);
  if (filter.from !== undefined) and("r.created_at >= ?", filter.from);
  if (filter.to !== undefined) and("r.created_at < ?", filter.to);
  if (filter.includeDeleted !== true) where.push("b.deleted_at IS NULL");
  if (after !== null) {
    values.push(after.at, after.id);
    where.push(`(r.created_at, r.id) < ($${values.length - 1}, $${values.length})`);
  }
  values.push(limit + 1);
  const result = await client.query({
    text: `SELECT ${BACKUP_COLUMNS}, ${cursorAt("r.created_at")} FROM runs r JOIN backup_jobs b ON b.run_id = r.id
WHERE ${where.join(" AND ")} ORDER BY r.created_at DESC, r.id DESC LIMIT $${values.length}`,
    values,
  });
  return pageOf(result, limit, Backup);
}

/** A backup and all that it stands on, the full one first; empty where there is no such backup. Deleted ones too. */
export async function listChain(q: Queryable, backupId: string): Promise<Backup[]> {
  const result = await q.query({
    name: "list_chain",
    text: `WITH RECURSIVE chain (run_id, parent_backup_id, depth) AS (
  SELECT b.run_id, b.parent_backup_id, 0 FROM backup_jobs b WHERE b.run_id = $1
  UNION ALL SELECT p.run_id, p.parent_backup_id, c.depth + 1 FROM backup_jobs p JOIN chain c ON p.run_id = c.parent_backup_id)
SELECT ${BACKUP_COLUMNS} FROM chain c JOIN backup_jobs b ON b.run_id = c.run_id JOIN runs r ON r.id = b.run_id ORDER BY c.depth DESC`,
    values: [backupId],
  });
  return allRows(result, Backup);
}

/** The ids of the backups that stand on this one (as parent or base) and are not deleted. */
export async function listDependents(q: Queryable, backupId: string): Promise<string[]> {
  const result = await q.query({
    text: `SELECT b.run_id AS id FROM backup_jobs b JOIN runs r ON r.id = b.run_id
WHERE (b.parent_backup_id = $1 OR b.base_backup_id = $1) AND b.deleted_at IS NULL AND r.status NOT IN ('failed', 'cancelled')`,
    values: [backupId],
  });
  return allRows(result, z.object({ id: z.uuid() })).map((row) => row.id);
}

/** The bytes that the tenant's backups hold in the store, deleted ones included until they are purged. */
export async function storedBytes(client: TenantClient): Promise<number> {
  const result = await client.query({
    text: `SELECT coalesce(sum(stored_bytes), 0) AS bytes FROM backup_jobs
WHERE tenant_id = $1 AND purged_at IS NULL AND stored_bytes IS NOT NULL`,
    values: [client.tenantId],
  });
  return firstRow(result, z.object({ bytes: Int8 }))?.bytes ?? 0;
}

/** What the newest whole backup of exactly these tables (null: all) takes in the store; null while there is none. */
export async function lastStoredBytes(client: TenantClient, tables: readonly string[] | null): Promise<number | null> {
  const result = await client.query({
    text: `SELECT b.stored_bytes AS bytes FROM backup_jobs b JOIN runs r ON r.id = b.run_id
WHERE r.tenant_id = $1 AND r.kind = 'backup' AND r.status = 'succeeded' AND b.type = 'full'
  AND b.tables IS NOT DISTINCT FROM $2::jsonb AND b.stored_bytes IS NOT NULL
ORDER BY r.created_at DESC, r.id DESC LIMIT 1`,
    values: [client.tenantId, jsonb(tables)],
  });
  return firstRow(result, z.object({ bytes: Int8 }))?.bytes ?? null;
}
