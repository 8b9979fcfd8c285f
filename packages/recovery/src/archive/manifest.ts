import { z } from "zod";
import { TableName, TableScope } from "../postgres/tenancy.ts";

/** The version of docs/FORMAT.md this code writes and reads. */
export const FORMAT_VERSION = 1;

const Count = z.int().nonnegative();
/** 64-bit unsigned as 16 lower-case hexadecimal digits. */
const Hex64 = z.string().regex(/^[0-9a-f]{16}$/);
const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/** How many rows, and the order-independent sum of their hashes modulo 2^64 (docs/FORMAT.md, "Fingerprint"). */
export const Fingerprint = z.object({ rows: Count, sum: Hex64 });
export type Fingerprint = z.infer<typeof Fingerprint>;

export const ManifestColumn = z.object({
  name: z.string(),
  /** As `format_type` with an empty search_path prints it: `numeric(10,2)`, `app.mood`. */
  type: z.string(),
  notNull: z.boolean(),
  /** `always`/`by default` for identity columns. */
  identity: z.enum(["always", "by default"]).nullable(),
  /** `pg_attribute.attnum`: what a column keeps when it is renamed. Backups made before there was a change log lack it. */
  attnum: z.int().positive().optional(),
});
export type ManifestColumn = z.infer<typeof ManifestColumn>;

/** A run of bytes of one part that holds whole blocks of one table. */
export const PartRange = z.object({ part: Count, offset: Count, bytes: Count, rows: Count, rawBytes: Count });
export type PartRange = z.infer<typeof PartRange>;

export const ManifestTable = z.object({
  table: TableName,
  scope: TableScope,
  /** Stored columns, in the order of the COPY text; generated columns are left out. */
  columns: z.array(ManifestColumn).min(1),
  /** The primary key's columns in key order (or, without one, a NOT NULL unique index's), or null: rows are then a multiset. */
  key: z.array(z.string()).min(1).nullable(),
  rawBytes: Count,
  fingerprint: Fingerprint,
  ranges: z.array(PartRange),
});
export type ManifestTable = z.infer<typeof ManifestTable>;

export const ManifestPart = z.object({ part: Count, bytes: Count, sha256: Sha256 });
export type ManifestPart = z.infer<typeof ManifestPart>;

export const SequenceState = z.object({
  sequence: TableName,
  /** The column it feeds. */
  table: TableName,
  column: z.string(),
  /** Decimal text of a bigint. */
  lastValue: z.string().regex(/^-?\d+$/),
  isCalled: z.boolean(),
});
export type SequenceState = z.infer<typeof SequenceState>;

/** 16 random bytes of the attempt that wrote it, in hexadecimal. */
const Writer = z.string().regex(/^[0-9a-f]{32}$/);

/** How an encrypted backup is sealed (docs/FORMAT.md, "Encryption"). */
export const Encryption = z.object({
  cipher: z.literal("aes-256-gcm"),
  /** The data key's. */
  keyId: z.uuid(),
  writer: Writer,
});
export type Encryption = z.infer<typeof Encryption>;

/** What an encrypted backup shows of itself: all of its manifest is in `sealed`. */
export const SealedManifest = z.object({
  format: z.literal("rowback"),
  version: z.literal(FORMAT_VERSION),
  backupId: z.uuid(),
  tenantId: z.uuid(),
  writer: Writer.optional(),
  encryption: Encryption,
  sealed: z.base64(),
});
export type SealedManifest = z.infer<typeof SealedManifest>;

/** What an incremental backup carries (docs/FORMAT.md, "Incremental backups"); its parts are segments of the change log's format. */
export const ManifestChanges = z.object({
  /** Of the stored manifest of the backup it was made on. */
  parentManifestSha256: Sha256,
  /** Row changes in its parts, and bytes of their lines. */
  count: Count,
  rawBytes: Count,
});
export type ManifestChanges = z.infer<typeof ManifestChanges>;

/** The JSON whose existence makes a backup exist: written last, deleted first. */
export const Manifest = z.object({
  format: z.literal("rowback"),
  version: z.literal(FORMAT_VERSION),
  backupId: z.uuid(),
  tenantId: z.uuid(),
  /** The parts' names end with it; backups made before attempts had names lack it. */
  writer: Writer.optional(),
  sourceId: z.uuid(),
  /** The value that scopes the tenant's rows in the source. */
  tenantKey: z.string(),
  type: z.enum(["full", "incremental"]),
  parentBackupId: z.uuid().nullable(),
  baseBackupId: z.uuid().nullable(),
  createdAt: z.iso.datetime(),
  snapshot: z.object({
    /** `pg_current_snapshot()` as text: xmin:xmax:xip,… */
    pgSnapshot: z.string(),
    /** WAL position when the snapshot was taken, `X/X`. */
    lsn: z.string(),
    /** The source's clock when the snapshot was taken. */
    at: z.iso.datetime(),
  }),
  server: z.object({ version: z.string(), versionNumber: Count, encoding: z.string() }),
  /** The session settings that fix COPY's text. */
  session: z.record(z.string(), z.string()),
  compression: z.enum(["gzip", "zstd"]),
  encryption: Encryption.nullable(),
  /** Of an incremental backup: the rows as they are with its chain, without ranges. */
  tables: z.array(ManifestTable),
  /** Of an incremental backup alone. */
  changes: ManifestChanges.optional(),
  parts: z.array(ManifestPart),
  sequences: z.array(SequenceState),
  /** DDL of the backed-up tables and the types they need: enough to create them in an empty database. */
  schema: z.string(),
});
export type Manifest = z.infer<typeof Manifest>;
