import { z } from "zod";
import { TableName, TableScope } from "../../postgres/tenancy.ts";

/** The version of docs/CHANGE-LOG.md this code writes and reads. */
export const CHANGE_LOG_VERSION = 1;

/** The end of every segment: the magic, the stored index's length, its SHA-256. */
export const TRAILER_MAGIC = "RBCHLOG1";
export const TRAILER_BYTES = 48;

const Count = z.int().nonnegative();
/** 64 bits as 16 hexadecimal digits, so that text order is LSN order. */
export const Lsn = z.string().regex(/^[0-9a-f]{16}$/);
/** 64 bits, unsigned, in decimal digits. */
const Xid = z.string().regex(/^\d{1,20}$/);
/** Microseconds since 1970, UTC, in decimal digits. */
const Microseconds = z.string().regex(/^-?\d{1,19}$/);

/** A committed transaction: its commit LSN, its 64-bit xid, and when it was committed by the source's clock. */
export const Transaction = z.object({ lsn: Lsn, xid: Xid, at: Microseconds });
export type Transaction = z.infer<typeof Transaction>;

export const RelationColumn = z.object({
  name: z.string(),
  /** As `format_type` with an empty search_path prints it. */
  type: z.string(),
  /** Stays the same when the column is renamed; null where the catalogue could no longer be asked. */
  attnum: z.int().positive().nullable(),
  /** It belongs to the replica identity. */
  key: z.boolean(),
  /** The text that rows have which were written before the column was there; null for NULL. */
  missing: z.string().nullable(),
});
export type RelationColumn = z.infer<typeof RelationColumn>;

/** A table as it was when the lines of the blocks that name it were written. */
export const Relation = z.object({
  table: TableName,
  scope: TableScope,
  /** What a delete, and the old row of an update, carries: every column, the identity's, or nothing. */
  identity: z.enum(["full", "key", "nothing"]),
  columns: z.array(RelationColumn).min(1),
});
export type Relation = z.infer<typeof Relation>;

/** Lines of one tenant (null: nobody knows whose, or everybody's) and one relation. */
export const SegmentBlock = z.object({
  tenant: z.string().nullable(),
  relation: Count,
  offset: Count,
  bytes: Count,
  rawBytes: Count,
  /** Lines that are changes of rows: all but `T`, `O` and `A`. */
  changes: Count,
  first: Lsn,
  last: Lsn,
  /** The first 16 bytes of the stored block's SHA-256. */
  digest: z.string().regex(/^[0-9a-f]{32}$/),
});
export type SegmentBlock = z.infer<typeof SegmentBlock>;

export const SegmentIndex = z.object({
  format: z.literal("rowback-changes"),
  version: z.literal(CHANGE_LOG_VERSION),
  sourceId: z.uuid(),
  epoch: Count,
  piece: Count,
  first: Transaction,
  last: Transaction,
  maxXid: Xid,
  /** It begins, or ends, inside a transaction. */
  continued: z.boolean(),
  continues: z.boolean(),
  transactions: Count,
  changes: Count,
  /** `A` lines. */
  alterations: Count.default(0),
  rawBytes: Count,
  relations: z.array(Relation),
  blocks: z.array(SegmentBlock),
});
export type SegmentIndex = z.infer<typeof SegmentIndex>;
