import { z } from "zod";
import { Int8, Json } from "../rows.ts";
import { RUN_STATES } from "../run-states.ts";
import { RunError } from "./run-row.ts";

export const BACKUP_TYPES = ["full", "incremental"] as const;
export type BackupType = (typeof BACKUP_TYPES)[number];

/** Whether the source gave the rows, or an earlier backup and the change log. */
export const BACKUP_ORIGINS = ["source", "log"] as const;
export type BackupOrigin = (typeof BACKUP_ORIGINS)[number];

export const BACKUP_PURPOSES = ["manual", "pre_restore", "rebase"] as const;
export type BackupPurpose = (typeof BACKUP_PURPOSES)[number];

/** One table's share of a backup. `table` is `schema.table`; bytes are of COPY text. */
export const TableStats = z.object({
  table: z.string(),
  rows: z.int(),
  rawBytes: z.int(),
  /** As the archive defines it; this package does not look inside. */
  fingerprint: Json,
});
export type TableStats = z.infer<typeof TableStats>;

/** A backup with the state of its run; its id is its run's id. What came of it is null until it has succeeded. */
export const Backup = z.object({
  id: z.uuid(),
  tenantId: z.uuid(),
  sourceId: z.uuid(),
  type: z.enum(BACKUP_TYPES),
  purpose: z.enum(BACKUP_PURPOSES),
  parentBackupId: z.uuid().nullable(),
  baseBackupId: z.uuid().nullable(),
  /** Null: every protected table. */
  tables: z.array(z.string()).nullable(),
  rowCount: Int8.nullable(),
  rawBytes: Int8.nullable(),
  storedBytes: Int8.nullable(),
  objectCount: Int8.nullable(),
  manifestSha256: z.string().nullable(),
  snapshotLsn: z.string().nullable(),
  snapshotAt: z.date().nullable(),
  madeFrom: z.enum(BACKUP_ORIGINS),
  serverVersion: z.string().nullable(),
  /** The data key that sealed it; null: stored in clear. */
  keyId: z.uuid().nullable(),
  tableStats: z.array(TableStats).nullable(),
  /** What it may lack all the same, one sentence each; empty until it has succeeded. */
  warnings: z.array(z.string()),
  deletedAt: z.date().nullable(),
  purgeStartedAt: z.date().nullable(),
  purgedAt: z.date().nullable(),
  status: z.enum(RUN_STATES),
  progress: Json.nullable(),
  error: RunError.nullable(),
  parentRunId: z.uuid().nullable(),
  requestedBy: z.string(),
  createdAt: z.date(),
  startedAt: z.date().nullable(),
  finishedAt: z.date().nullable(),
});
export type Backup = z.infer<typeof Backup>;

/** The columns of `Backup`, of a backup_jobs row called `b` and its run called `r`. */
export const BACKUP_COLUMNS = `b.run_id AS id, b.tenant_id AS "tenantId", b.source_id AS "sourceId", b.type, b.purpose,
  b.parent_backup_id AS "parentBackupId", b.base_backup_id AS "baseBackupId", b.tables, b.row_count AS "rowCount",
  b.raw_bytes AS "rawBytes", b.stored_bytes AS "storedBytes", b.object_count AS "objectCount",
  b.manifest_sha256 AS "manifestSha256", b.snapshot_lsn AS "snapshotLsn", b.snapshot_at AS "snapshotAt",
  b.made_from AS "madeFrom",
  b.server_version AS "serverVersion", b.key_id AS "keyId", b.table_stats AS "tableStats",
  coalesce(r.result -> 'warnings', '[]') AS warnings, b.deleted_at AS "deletedAt",
  b.purge_started_at AS "purgeStartedAt", b.purged_at AS "purgedAt", r.status, r.progress, r.error,
  r.parent_run_id AS "parentRunId", r.requested_by AS "requestedBy", r.created_at AS "createdAt",
  r.started_at AS "startedAt", r.finished_at AS "finishedAt"`;
