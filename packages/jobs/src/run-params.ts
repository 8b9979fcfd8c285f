import { z } from "zod";

/** What a run was asked to do, and what it answers: the `params` and `result` columns of `runs`, one pair per kind. */

/** `schema.table`, unquoted, as discovery names it. */
const TableLabel = z.string().min(1).max(200);
/** Null: every protected table. A request may name 50; what a plan changes may be more. */
const Tables = z.array(TableLabel).min(1).max(10_000).nullable();
const Count = z.int().nonnegative();
/** The text form that `Fingerprint` of @rowback/recovery has. */
const Fingerprint = z.object({ rows: Count, sum: z.string().regex(/^[0-9a-f]{16}$/) });

export const DiscoveryParams = z.strictObject({});
export type DiscoveryParams = z.infer<typeof DiscoveryParams>;

/** As in @rowback/recovery/plans. */
const Finding = z.object({
  severity: z.enum(["error", "warning", "info"]),
  code: z.string(),
  table: z.object({ schema: z.string(), name: z.string() }).nullable(),
  message: z.string(),
  hint: z.string(),
});

/** The tables themselves are in `protected_tables`. */
export const DiscoveryResult = z.object({
  protectedTables: Count,
  sharedTables: Count,
  unprotectedTables: Count,
  findings: z.array(Finding),
});
export type DiscoveryResult = z.infer<typeof DiscoveryResult>;

/** What came of it is in its `backup_jobs` row. */
export const BackupParams = z.strictObject({
  tables: Tables,
  /**
   * `pre_restore`: made by a restore's run (its `parent_run_id`) so that it can be undone. `rebase`: asked for by the capture when it
   * had to begin anew.
   */
  purpose: z.enum(["manual", "pre_restore", "rebase"]),
  /** `full` unless told. The others are made from `parentBackupId` and the change log; the source gives no row. */
  type: z.enum(["full", "synthetic_full", "incremental"]).optional(),
  parentBackupId: z.uuid().optional(),
  /** Before a restore into another database: that one is backed up, not the tenant's own source. */
  targetSourceId: z.uuid().optional(),
});
export type BackupParams = z.infer<typeof BackupParams>;

/** The figures of the backup, as in its `backup_jobs` row. Bytes and rows. */
export const BackupResult = z.object({
  backupId: z.uuid(),
  rowCount: Count,
  rawBytes: Count,
  storedBytes: Count,
  objectCount: Count,
  tableCount: Count,
  /** What it may lack all the same, by name: tables taken for nobody's, sequences the role may not read. */
  warnings: z.array(z.string()),
});
export type BackupResult = z.infer<typeof BackupResult>;

export const CaptureSetupParams = z.strictObject({});
export const CaptureSetupResult = z.object({
  /** Counts the slots of the source. */
  epoch: z.int(),
  /** Whether a slot was made; else the one there goes on. */
  isNew: z.boolean(),
  slotName: z.string(),
  publicationName: z.string(),
  capturedTables: Count,
  findings: z.array(Finding),
});
export type CaptureSetupResult = z.infer<typeof CaptureSetupResult>;

export const CaptureTeardownParams = z.strictObject({});
export const CaptureTeardownResult = z.object({
  slotName: z.string(),
  publicationName: z.string(),
  /** The last epoch; null: the source was never captured. */
  epoch: z.int().nullable(),
});
export type CaptureTeardownResult = z.infer<typeof CaptureTeardownResult>;

export const BackupVerifyParams = z.strictObject({ backupId: z.uuid() });
export type BackupVerifyParams = z.infer<typeof BackupVerifyParams>;

/** A damaged backup is a failed run (`archive_damaged`), never a succeeded one with a bad result. */
export const BackupVerifyResult = z.object({
  backupId: z.uuid(),
  manifestSha256: z.string(),
  rowCount: Count,
  /** Bytes of COPY text that were read and checked. */
  rawBytes: Count,
});
export type BackupVerifyResult = z.infer<typeof BackupVerifyResult>;

export const TenantEraseParams = z.strictObject({});
export type TenantEraseParams = z.infer<typeof TenantEraseParams>;

/** What the purge deleted; that the key was destroyed before, and what it opened, is in the certificate. */
export const TenantEraseResult = z.object({
  objects: Count,
  bytes: Count,
  certificateDigest: z.string(),
});
export type TenantEraseResult = z.infer<typeof TenantEraseResult>;
const Decimal = z.string().regex(/^\d{1,20}$/);
/** As in @rowback/recovery/plans. */
const MomentLimit = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("time"), at: Decimal }),
  z.strictObject({ kind: z.literal("lsn"), lsn: z.string().regex(/^[0-9a-f]{16}$/) }),
  z.strictObject({ kind: z.literal("before"), xid: Decimal }),
  z.strictObject({ kind: z.literal("snapshot"), pgSnapshot: z.string() }),
]);

/** A moment behind a base: what was asked for, up to which transaction that reaches, and the epoch of the log that leads there. */
export const RunMoment = z.strictObject({
  asked: z.record(z.string(), z.string()),
  limit: MomentLimit,
  epoch: z.int().positive(),
});
export type RunMoment = z.infer<typeof RunMoment>;

/** What to bring back, and how; the same words in a preview and in the restore that applies it. */
const RestoreRequestFields = {
  backupId: z.uuid(),
  /** The backup is only the base: bring back what was at this moment. Null: the backup itself. */
  moment: RunMoment.nullable().default(null),
  /** `exact`: the tables as they were. `missing_only`: bring back deleted rows, keep newer ones. */
  mode: z.enum(["exact", "missing_only"]),
  tables: Tables,
  /** Only these rows: per table, key tuples in the order of the key's columns, values as text. */
  keys: z
    .array(z.strictObject({ table: TableLabel, keys: z.array(z.array(z.string()).min(1)).min(1).max(10_000) }))
    .min(1)
    .nullable(),
  triggers: z.enum(["suppress", "fire"]),
  /** Another source to restore into; null: where the backup came from. */
  targetSourceId: z.uuid().nullable(),
} as const;

/** The run's result is the `RestorePlan` of @rowback/recovery/plans. */
export const RestorePreviewParams = z.strictObject(RestoreRequestFields);
export type RestorePreviewParams = z.infer<typeof RestorePreviewParams>;

/** Applies what a preview showed: its request, copied, so that the run can be read on its own. */
export const ApplyRestoreParams = z.strictObject({
  ...RestoreRequestFields,
  previewRunId: z.uuid(),
  planDigest: z.string().min(1),
});
export type ApplyRestoreParams = z.infer<typeof ApplyRestoreParams>;

/** Brings back the pre-restore backup of another restore's run. */
export const UndoRestoreParams = z.strictObject({
  undoOf: z.uuid(),
  /** False: refuse with `plan_stale` when the tables were written to since that restore. True: lose what was written. */
  discardNewerChanges: z.boolean(),
});
export type UndoRestoreParams = z.infer<typeof UndoRestoreParams>;

/** Narrow with `"undoOf" in params`. */
export const RestoreParams = z.union([UndoRestoreParams, ApplyRestoreParams]);
export type RestoreParams = z.infer<typeof RestoreParams>;

export const RestoreResult = z.object({
  tables: z.array(z.object({ table: z.string(), inserted: Count, updated: Count, deleted: Count })),
  /** Of the affected tables, by `schema.table`: what an undo expects to find. */
  fingerprintsBefore: z.record(z.string(), Fingerprint),
  fingerprintsAfter: z.record(z.string(), Fingerprint),
  planDigest: z.string(),
  /** What an undo brings back; null when the plan changed nothing. */
  preRestoreBackupId: z.uuid().nullable(),
  undoOf: z.uuid().nullable(),
  warnings: z.array(z.string()),
});
export type RestoreResult = z.infer<typeof RestoreResult>;

export const RestorePointParams = z.strictObject({ name: z.string().min(1).max(200) });
export type RestorePointParams = z.infer<typeof RestorePointParams>;

/** The point's name, its place in the WAL (`X/X`), and when it was written. */
export const RestorePointResult = z.object({ name: z.string(), lsn: z.string(), at: z.string() });
export type RestorePointResult = z.infer<typeof RestorePointResult>;

export const HistoryParams = z.strictObject({
  table: TableLabel,
  /** The key's values as text, in the order of the key's columns. */
  key: z.array(z.string()).min(1),
  /** The base that the history begins with, and the epoch of the log behind it. */
  backupId: z.uuid(),
  epoch: z.int().positive(),
  limit: z.int().min(1).max(500),
  /** `next` of the page before. */
  after: z.string().nullable(),
});
export type HistoryParams = z.infer<typeof HistoryParams>;

/** A row's values as PostgreSQL prints them, by column. */
const RowImage = z.record(z.string(), z.string().nullable());

/** The versions of one row, oldest first. */
export const HistoryResult = z.object({
  table: z.string(),
  key: z.array(z.string()),
  versions: z.array(
    z.object({
      /** `base`: as the oldest backup at hand has it; `gone`: the row belongs to another tenant, or has another key, since. */
      operation: z.enum(["base", "insert", "update", "delete", "truncate", "gone"]),
      /** ISO 8601 with microseconds. */
      at: z.string(),
      /** Null for `base`. */
      transaction: z.string().nullable(),
      lsn: z.string().nullable(),
      /** The row afterwards; null: it is gone. */
      row: RowImage.nullable(),
      /** Columns whose value is another than before; empty for inserts and deletes. */
      changed: z.array(z.string()),
    }),
  ),
  /** The next page's cursor, or null. */
  next: z.string().nullable(),
});
export type HistoryResult = z.infer<typeof HistoryResult>;
