import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { allRows, Json, jsonb } from "../rows.ts";

/** Why no scope could be told. */
const UnprotectedReason = z.object({ code: z.string(), message: z.string(), choices: Json.optional() });

/** One table of the last discovery. `scope` is JSON here: the caller parses it to recovery's TableScope. */
export const ProtectedTable = z.object({
  schemaName: z.string(),
  tableName: z.string(),
  /** Null: unprotected, and the reason says why. */
  scope: Json.nullable(),
  unprotectedReason: UnprotectedReason.nullable(),
  /** Whatever else the discovery tells of the table. */
  details: Json.nullable(),
  discoveredAt: z.date(),
});
export type ProtectedTable = z.infer<typeof ProtectedTable>;

export type DiscoveredTableRow = {
  readonly schemaName: string;
  readonly tableName: string;
  readonly details?: unknown;
} & (
  | { readonly scope: object; readonly unprotectedReason?: null }
  | {
      readonly scope: null;
      readonly unprotectedReason: { readonly code: string; readonly message: string; readonly choices?: unknown };
    }
);

/**
 * Puts a discovery's tables in the place of the last one's, in one statement: a reader sees all of the old or all of the
 * new. A table that is in both keeps its row; what the source no longer has goes. System only.
 */
export async function replaceProtectedTables(
  q: Queryable,
  sourceId: string,
  tables: readonly DiscoveredTableRow[],
): Promise<void> {
  await q.query({
    text: `WITH source AS (
  UPDATE sources SET discovered_at = now() WHERE id = $1 RETURNING id),
found AS (
  SELECT * FROM jsonb_to_recordset($2::jsonb)
    AS f (schema_name text, table_name text, scope jsonb, unprotected_reason jsonb, details jsonb)),
gone AS (
  DELETE FROM protected_tables p USING source WHERE p.source_id = source.id
    AND NOT EXISTS (SELECT FROM found f WHERE f.schema_name = p.schema_name AND f.table_name = p.table_name))
INSERT INTO protected_tables AS p (source_id, schema_name, table_name, scope, unprotected_reason, details, discovered_at)
SELECT source.id, f.schema_name, f.table_name, nullif(f.scope, 'null'), nullif(f.unprotected_reason, 'null'), nullif(f.details, 'null'), now()
FROM found f CROSS JOIN source
ON CONFLICT (source_id, schema_name, table_name) DO UPDATE SET scope = EXCLUDED.scope,
  unprotected_reason = EXCLUDED.unprotected_reason, details = EXCLUDED.details, discovered_at = EXCLUDED.discovered_at`,
    values: [
      sourceId,
      jsonb(
        tables.map((table) => ({
          schema_name: table.schemaName,
          table_name: table.tableName,
          scope: table.scope,
          unprotected_reason: table.unprotectedReason ?? null,
          details: table.details ?? null,
        })),
      ),
    ],
  });
}

/** The tables of a source's last discovery, by name; empty when there was none (see Source.discoveredAt). */
export async function listProtectedTables(q: Queryable, sourceId: string): Promise<ProtectedTable[]> {
  const result = await q.query({
    text: `SELECT schema_name AS "schemaName", table_name AS "tableName", scope, unprotected_reason AS "unprotectedReason",
  details, discovered_at AS "discoveredAt" FROM protected_tables WHERE source_id = $1 ORDER BY schema_name, table_name`,
    values: [sourceId],
  });
  return allRows(result, ProtectedTable);
}
