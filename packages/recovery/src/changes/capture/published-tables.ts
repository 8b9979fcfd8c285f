import { z } from "zod";
import { TableName } from "../../postgres/tenancy.ts";
import { widenXid } from "./wal-position.ts";

const PublishedColumn = z.object({
  name: z.string(),
  attnum: z.int(),
  typeOid: z.int(),
  typeModifier: z.int().default(-1),
  type: z.string(),
  /** How its values lie in a row: length, alignment, by value or not. Empty: nobody looked. */
  representation: z.string().default(""),
  /** Computed by the server: in no message, and in no backup. */
  generated: z.boolean().default(false),
  /** What rows have that were written before the column was there. */
  missing: z.string().nullable(),
  hasMissing: z.boolean(),
  /** It has a default, an identity, or must not be NULL: old rows can't simply have NULL. */
  filled: z.boolean(),
  /** The transaction that last wrote its row in the catalogue, 32 bits. */
  writtenBy: z.string(),
});

const DroppedColumn = z.object({ attnum: z.int(), representation: z.string() });

const Leaf = z.object({ oid: z.int(), filenode: z.string(), attached: z.boolean() });

/** A table of the publication as the catalogue has it, with what tells whether its rows were rewritten behind the log's back. */
export const PublishedTable = z.object({
  oid: z.int(),
  table: TableName,
  /** Of a plain table. */
  filenode: z.string(),
  /** Of a partitioned one. */
  leaves: z.array(Leaf),
  columns: z.array(PublishedColumn),
  /** Attribute numbers are given once: those of dropped columns are never given again. */
  dropped: z.array(DroppedColumn).default([]),
  /** The greatest that was ever given. */
  attnums: z.int().default(0),
});
export type PublishedTable = z.infer<typeof PublishedTable>;
export type PublishedColumn = z.infer<typeof PublishedColumn>;

/**
 * SQL of one row `published` per table, as PublishedTable.
 * @param publication its name, as an expression
 * @param oids of the tables, as an expression; NULL: all of the publication
 */
export function publishedTables(publication: string, oids: string): string {
  return `SELECT pg_catalog.json_build_object(
  'oid', c.oid::bigint, 'table', pg_catalog.json_build_object('schema', n.nspname, 'name', c.relname), 'filenode', c.relfilenode::text,
  'leaves', coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', l.oid::bigint, 'filenode', l.relfilenode::text,
      'attached', h.xmin IS DISTINCT FROM (SELECT a.xmin FROM pg_catalog.pg_attribute a WHERE a.attrelid = l.oid AND a.attnum = -1)) ORDER BY l.oid)
    FROM pg_catalog.pg_partition_tree(c.oid) t JOIN pg_catalog.pg_class l ON l.oid = t.relid
      JOIN pg_catalog.pg_inherits h ON h.inhrelid = l.oid
    WHERE t.isleaf AND c.relkind = 'p'), '[]'),
  'columns', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname, 'attnum', a.attnum, 'typeOid', a.atttypid::bigint, 'typeModifier', a.atttypmod,
      'representation', a.attlen || a.attalign::text || a.attbyval, 'generated', a.attgenerated <> '',
      'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
      'missing', coalesce((a.attmissingval::text::text[])[1], leaf.missing), 'hasMissing', a.atthasmissing OR coalesce(leaf.has_missing, false),
      'filled', a.atthasdef OR a.attidentity <> '' OR a.attnotnull, 'writtenBy', a.xmin::text) ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a LEFT JOIN LATERAL (
      SELECT (la.attmissingval::text::text[])[1] AS missing, la.atthasmissing AS has_missing
      FROM pg_catalog.pg_partition_tree(c.oid) t JOIN pg_catalog.pg_attribute la ON la.attrelid = t.relid AND la.attname = a.attname
      WHERE c.relkind = 'p' AND t.isleaf AND la.atthasmissing ORDER BY t.relid LIMIT 1) leaf ON true
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'dropped', coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_object('attnum', a.attnum, 'representation', a.attlen || a.attalign::text || a.attbyval) ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attisdropped), '[]'),
  'attnums', c.relnatts) AS published
FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
  JOIN pg_catalog.pg_class c ON c.oid = r.prrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE p.pubname = ${publication} AND (${oids}::oid[] IS NULL OR c.oid = ANY (${oids}::oid[])) ORDER BY c.oid`;
}

/**
 * Whether rows may have changed without any change being logged: the table was rewritten with other values, or a partition with rows
 * came or went. VACUUM FULL and CLUSTER rewrite too, but leave the catalogue's columns as they were. Pure.
 * @param truncated whether a TRUNCATE of the whole table, which is logged, came in between
 * @param told whether event triggers tell of every rewrite with other values
 */
export function wasRewritten(before: PublishedTable, now: PublishedTable, truncated: boolean, told: boolean): boolean {
  const known = new Map(before.columns.map((column) => [column.attnum, column]));
  // DROP EXPRESSION: values that no backup and no message has had so far.
  if (now.columns.some(({ attnum, generated }) => !generated && known.get(attnum)?.generated === true)) return true;
  if (now.leaves.length > 0 || before.leaves.length > 0) return leavesMoved(before, now, truncated);
  if (told || before.filenode === now.filenode) return false;
  return now.columns.some((column) => {
    const old = known.get(column.attnum);
    if (old === undefined) return column.filled && !column.hasMissing;
    return old.writtenBy !== column.writtenBy;
  });
}

/**
 * The table as it is now, with what was known before of the values that rows have which are older than a column: a rewrite of the table
 * writes them out, and the catalogue forgets them, but rows of older backups and lines have still to be given them. Pure.
 */
export function rememberMissing(now: PublishedTable, before: PublishedTable | undefined): PublishedTable {
  const known = new Map(before?.columns.map((column) => [column.attnum, column]));
  const columns = now.columns.map((column) => {
    const { missing = null, hasMissing = false } = known.get(column.attnum) ?? {};
    return column.hasMissing || !hasMissing ? column : { ...column, missing, hasMissing };
  });
  return { ...now, columns };
}

function leavesMoved(before: PublishedTable, now: PublishedTable, truncated: boolean): boolean {
  const present = new Map(now.leaves.map((leaf) => [leaf.oid, leaf]));
  const known = new Set(before.leaves.map((leaf) => leaf.oid));
  const gone = before.leaves.some((leaf) => !present.has(leaf.oid));
  const came = now.leaves.some((leaf) => leaf.attached && !known.has(leaf.oid));
  const replaced = before.leaves.some((leaf) => (present.get(leaf.oid)?.filenode ?? leaf.filenode) !== leaf.filenode);
  return gone || came || (replaced && !truncated);
}

/** Whether a row version that this transaction wrote is older than a transaction of the stream; both as the server has them. */
export function isOlder(xmin: string, xid: bigint): boolean {
  const id = Number(xmin);
  // Below 3 are no transactions, but the marks of rows that are older than all.
  return id < 3 || widenXid(id, xid) <= xid;
}
