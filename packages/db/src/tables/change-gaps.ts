import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { Lsn, Micros, microsOf, timestampOf, Xid } from "../log-position.ts";
import { allRows } from "../rows.ts";

export const GAP_REASONS = [
  "slot_lost",
  "capture_off",
  "table_rewritten",
  "tenant_moved",
  "table_not_published",
] as const;
export type GapReason = (typeof GAP_REASONS)[number];

/**
 * A range of moments that can't be restored to. It begins behind the last moment that is certain, and ends with the next full
 * backup whose snapshot shows `causeXid`; where that is null, with one that is usable in a later epoch.
 */
export const ChangeGap = z.object({
  id: z.uuid(),
  sourceId: z.uuid(),
  epoch: z.int(),
  reason: z.enum(GAP_REASONS),
  /** Null: all tenants. */
  tenantKey: z.string().nullable(),
  /** Null: all tables. */
  schemaName: z.string().nullable(),
  tableName: z.string().nullable(),
  beginsLsn: Lsn,
  /** Microseconds since 1970. */
  beginsAt: Micros,
  causeXid: Xid.nullable(),
  objectKey: z.string(),
  createdAt: z.date(),
});
export type ChangeGap = z.infer<typeof ChangeGap>;

export type NewChangeGap = Omit<ChangeGap, "id" | "createdAt">;

const COLUMNS = `g.id, g.source_id AS "sourceId", g.epoch, g.reason, g.tenant_key AS "tenantKey", g.schema_name AS "schemaName",
  g.table_name AS "tableName", g.begins_lsn AS "beginsLsn", ${microsOf("g.begins_at")} AS "beginsAt", g.cause_xid AS "causeXid",
  g.object_key AS "objectKey", g.created_at AS "createdAt"`;

/** Records gaps; one that is there already (by its object's key) stays as it is. */
export async function insertGaps(q: Queryable, gaps: readonly NewChangeGap[]): Promise<void> {
  for (const gap of gaps) {
    await q.query({
      name: "insert_gap",
      text: `INSERT INTO change_gaps (id, source_id, epoch, reason, tenant_key, schema_name, table_name, begins_lsn, begins_at, cause_xid, object_key)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, ${timestampOf("$9")}, $10, $11) ON CONFLICT (object_key) DO NOTHING`,
      values: [
        randomUUID(),
        gap.sourceId,
        gap.epoch,
        gap.reason,
        gap.tenantKey,
        gap.schemaName,
        gap.tableName,
        gap.beginsLsn,
        gap.beginsAt.toString(),
        gap.causeXid?.toString() ?? null,
        gap.objectKey,
      ],
    });
  }
}

/** The gaps of a source that concern this tenant (its own, and those of all tenants), in the order they begin. */
export async function listGaps(
  q: Queryable,
  of: { readonly sourceId: string; readonly tenantKey: string },
): Promise<ChangeGap[]> {
  const result = await q.query({
    text: `SELECT ${COLUMNS} FROM change_gaps g
WHERE g.source_id = $1 AND (g.tenant_key = $2 OR g.tenant_key IS NULL) ORDER BY g.epoch, g.begins_lsn, g.reason`,
    values: [of.sourceId, of.tenantKey],
  });
  return allRows(result, ChangeGap);
}

/** Gives the open gaps of tables that are published now their end: the next full backup that shows this transaction. */
export async function closeUnpublishedGaps(
  q: Queryable,
  of: {
    readonly sourceId: string;
    readonly epoch: number;
    readonly tables: readonly { schema: string; name: string }[];
  },
  causeXid: bigint,
): Promise<void> {
  await q.query({
    text: `UPDATE change_gaps g SET cause_xid = $3 FROM unnest($4::text[], $5::text[]) AS t (schema_name, table_name)
WHERE g.source_id = $1 AND g.epoch = $2 AND g.reason = 'table_not_published' AND g.cause_xid IS NULL
  AND g.schema_name = t.schema_name AND g.table_name = t.table_name`,
    values: [
      of.sourceId,
      of.epoch,
      causeXid.toString(),
      of.tables.map((table) => table.schema),
      of.tables.map((table) => table.name),
    ],
  });
}
