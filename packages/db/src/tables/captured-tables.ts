import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { Lsn, Micros, microsOf, timestampOf } from "../log-position.ts";
import { allRows, firstRow, Json, jsonb } from "../rows.ts";

/** What a capture last saw of a source's tables. Times are microseconds since 1970. */
export interface RememberedTables {
  /** JSON here: the caller parses it to recovery's PublishedTable[]. */
  readonly tables: readonly Json[];
  readonly unpublished: readonly string[];
  readonly lsn: string;
  readonly at: bigint;
  /** JSON here: the caller parses it to recovery's DdlTrigger or null. */
  readonly ddlTrigger: Json;
}

const Seen = z.object({
  lsn: Lsn.nullable(),
  at: Micros.nullable(),
  unpublished: z.array(z.string()),
  ddlTrigger: Json,
});

/** What was seen last in this epoch; null: nothing yet. */
export async function getRememberedTables(
  q: Queryable,
  sourceId: string,
  epoch: number,
): Promise<RememberedTables | null> {
  const seen = firstRow(
    await q.query({
      text: `SELECT e.seen_lsn AS lsn, ${microsOf("e.seen_at")} AS at, e.unpublished, e.ddl_trigger AS "ddlTrigger" FROM capture_epochs e WHERE e.source_id = $1 AND e.epoch = $2`,
      values: [sourceId, epoch],
    }),
    Seen,
  );
  if (seen === null || seen.lsn === null || seen.at === null) return null;
  const { rows } = await q.query({
    text: "SELECT seen FROM captured_tables WHERE source_id = $1 AND epoch = $2 ORDER BY oid",
    values: [sourceId, epoch],
  });
  const tables = allRows({ rows }, z.object({ seen: Json })).map((row) => row.seen);
  return { ...seen, tables, lsn: seen.lsn, at: seen.at };
}

/** Remembers when the tables were looked at; `tables` are those that changed since, each with its `oid`, `gone` those that went. */
export async function rememberTables(
  q: Queryable,
  of: { readonly sourceId: string; readonly epoch: number },
  seen: Pick<RememberedTables, "lsn" | "at" | "unpublished"> & { readonly ddlTrigger: unknown },
  changed: { readonly tables: readonly { readonly oid: number }[]; readonly gone: readonly number[] },
): Promise<void> {
  const { sourceId, epoch } = of;
  await q.query({
    text: `WITH present AS (
  INSERT INTO captured_tables (source_id, epoch, oid, seen)
  SELECT $1, $2, (one->>'oid')::bigint, one FROM jsonb_array_elements($6::jsonb) AS one
  ON CONFLICT (source_id, epoch, oid) DO UPDATE SET seen = EXCLUDED.seen),
gone AS (DELETE FROM captured_tables WHERE source_id = $1 AND epoch = $2 AND oid = ANY ($7::bigint[]))
UPDATE capture_epochs SET seen_lsn = $3, seen_at = ${timestampOf("$4")}, unpublished = $5, ddl_trigger = $8 WHERE source_id = $1 AND epoch = $2`,
    values: [
      sourceId,
      epoch,
      seen.lsn,
      seen.at.toString(),
      jsonb(seen.unpublished),
      jsonb(changed.tables),
      changed.gone,
      jsonb(seen.ddlTrigger),
    ],
  });
}
