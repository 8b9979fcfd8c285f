import { createHash } from "node:crypto";
import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { Lsn, Micros, microsOf, Xid } from "../log-position.ts";
import { allRows, Int8 } from "../rows.ts";

/** One segment of a source's change log, as docs/CHANGE-LOG.md describes the object. Times are microseconds since 1970. */
export const ChangeSegment = z.object({
  sourceId: z.uuid(),
  epoch: z.int(),
  firstLsn: Lsn,
  lastLsn: Lsn,
  piece: z.int(),
  objectKey: z.string(),
  firstAt: Micros,
  lastAt: Micros,
  maxXid: Xid,
  continued: z.boolean(),
  continues: z.boolean(),
  transactions: Int8,
  changes: Int8,
  /** Of all lines. */
  rawBytes: Int8,
  /** Of the object. */
  storedBytes: Int8,
  hasShared: z.boolean(),
  /** It tells that a table's columns changed. */
  hasAlterations: z.boolean(),
});
export type ChangeSegment = z.infer<typeof ChangeSegment>;

/** A segment to be recorded, with the keys of the tenants that have blocks in it. */
export type NewChangeSegment = Omit<ChangeSegment, "sourceId" | "epoch"> & { readonly tenantKeys: Iterable<string> };

const COLUMNS = `s.source_id AS "sourceId", s.epoch, s.first_lsn AS "firstLsn", s.last_lsn AS "lastLsn", s.piece,
  s.object_key AS "objectKey", ${microsOf("s.first_at")} AS "firstAt", ${microsOf("s.last_at")} AS "lastAt", s.max_xid AS "maxXid",
  s.continued, s.continues, s.transactions, s.changes, s.raw_bytes AS "rawBytes", s.stored_bytes AS "storedBytes",
  s.has_shared AS "hasShared", s.has_alterations AS "hasAlterations"`;

/**
 * What stands for a tenant in `tenant_hashes`: 32 bits. Two tenants may share one; the segment's own index settles it. The source
 * is part of it, because tenants of different sources are often numbered alike.
 */
export function tenantHash(sourceId: string, tenantKey: string): number {
  return createHash("sha256").update(sourceId).update("\0").update(tenantKey).digest().readInt32BE(0);
}

/** Where in the log to look. Only what is given narrows it. */
export interface SegmentFilter {
  readonly sourceId: string;
  readonly epoch: number;
  /** Only segments that may hold something of this tenant (those with a shared part always may); null: all. */
  readonly tenantKey: string | null;
  /** Only segments with a transaction from this id on: a base's xmin. */
  readonly fromXid?: bigint | undefined;
  /** Only segments that begin at or before this position; beyond it those alone that tell of changed columns. */
  readonly untilLsn?: string | undefined;
  /** The same by time, in microseconds since 1970. */
  readonly untilAt?: bigint | undefined;
}

const PAGE = 500;

/**
 * Every segment that matches, in commit order, a page at a time: memory does not grow with the log. Compaction may put a wider
 * segment in the place of some that were given already: skip its transactions up to the last that was read. The objects of the old ones
 * stay for an hour.
 */
export async function* listSegments(q: Queryable, filter: SegmentFilter): AsyncGenerator<ChangeSegment> {
  let after: ChangeSegment | undefined;
  for (;;) {
    const page = await segmentsAfter(q, filter, after);
    yield* page;
    after = page.at(-1);
    if (page.length < PAGE) return;
  }
}

async function segmentsAfter(
  q: Queryable,
  filter: SegmentFilter,
  after: ChangeSegment | undefined,
): Promise<ChangeSegment[]> {
  const { sourceId, epoch, tenantKey, fromXid, untilLsn, untilAt } = filter;
  const result = await q.query({
    text: `SELECT ${COLUMNS} FROM change_segments s
WHERE s.source_id = $1 AND s.epoch = $2 ${tenantKey === null ? "AND $3::int[] IS NULL" : "AND (s.tenant_hashes && $3::int[] OR s.has_shared)"}
  AND ($4::bigint IS NULL OR s.max_xid >= $4)
  AND ($5::text IS NULL OR s.first_lsn <= $5 OR s.has_alterations)
  AND ($6::bigint IS NULL OR ${microsOf("s.first_at")} <= $6 OR s.has_alterations)
  AND ($7::text IS NULL OR (s.last_lsn, s.first_lsn, s.piece) > ($7, $8, $9))
ORDER BY s.last_lsn, s.first_lsn, s.piece LIMIT ${PAGE}`,
    values: [
      sourceId,
      epoch,
      tenantKey === null ? null : [tenantHash(sourceId, tenantKey)],
      fromXid?.toString() ?? null,
      untilLsn ?? null,
      untilAt?.toString() ?? null,
      after?.lastLsn ?? null,
      after?.firstLsn ?? null,
      after?.piece ?? null,
    ],
  });
  return allRows(result, ChangeSegment);
}
