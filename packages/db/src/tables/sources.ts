import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { allRows, firstRow, Json, jsonb } from "../rows.ts";

/** A source as anybody may see it. `tenancy` and `rules` are JSON here: the caller parses them to recovery's Tenancy and ScopeRule[]. */
export const Source = z.object({
  id: z.uuid(),
  name: z.string(),
  tenancy: Json,
  rules: z.array(Json),
  /** Whether what is stored of its tenants is sealed from now on. */
  encryption: z.boolean(),
  createdAt: z.date(),
  updatedAt: z.date(),
  discoveredAt: z.date().nullable(),
});
export type Source = z.infer<typeof Source>;

/** How to reach a source: the name of a setting (`env:NAME`), or the connection string sealed by `sealSecret`. */
export type SourceConnection =
  | { readonly kind: "reference"; readonly reference: string }
  | { readonly kind: "sealed"; readonly sealed: string };

const COLUMNS = `s.id, s.name, s.tenancy, s.rules, s.encryption, s.created_at AS "createdAt", s.updated_at AS "updatedAt", s.discovered_at AS "discoveredAt"`;

export interface NewSource {
  readonly name: string;
  readonly connection: SourceConnection;
  /** JSON of recovery's Tenancy and ScopeRule[], validated by the caller. */
  readonly tenancy: unknown;
  readonly rules?: readonly unknown[];
  readonly encryption?: boolean | undefined;
}

/** Registers a source. Null when the name is taken. System only. */
export async function insertSource(q: Queryable, source: NewSource): Promise<Source | null> {
  const { reference, sealed } = connectionColumns(source.connection);
  const result = await q.query({
    text: `INSERT INTO sources AS s (id, name, connection_ref, connection_sealed, tenancy, rules, encryption) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (name) DO NOTHING RETURNING ${COLUMNS}`,
    values: [
      randomUUID(),
      source.name,
      reference,
      sealed,
      jsonb(source.tenancy),
      jsonb(source.rules ?? []),
      source.encryption ?? false,
    ],
  });
  return firstRow(result, Source);
}

export interface SourceChange {
  readonly connection?: SourceConnection | undefined;
  readonly tenancy?: unknown;
  readonly rules?: readonly unknown[] | undefined;
  readonly encryption?: boolean | undefined;
}

/** Changes what is given; null when there is no such source. System only. */
export async function updateSource(q: Queryable, sourceId: string, change: SourceChange): Promise<Source | null> {
  const connection = change.connection === undefined ? null : connectionColumns(change.connection);
  const result = await q.query({
    text: `UPDATE sources s SET
  connection_ref = CASE WHEN $2 THEN $3 ELSE s.connection_ref END,
  connection_sealed = CASE WHEN $2 THEN $4 ELSE s.connection_sealed END,
  tenancy = coalesce($5, s.tenancy), rules = coalesce($6, s.rules), encryption = coalesce($7, s.encryption), updated_at = now()
WHERE s.id = $1 RETURNING ${COLUMNS}`,
    values: [
      sourceId,
      connection !== null,
      connection?.reference ?? null,
      connection?.sealed ?? null,
      jsonb(change.tenancy),
      jsonb(change.rules),
      change.encryption ?? null,
    ],
  });
  return firstRow(result, Source);
}

/** The source, or null. Under a TenantClient only the tenant's own source is there. */
export async function getSource(q: Queryable, sourceId: string): Promise<Source | null> {
  return firstRow(
    await q.query({ name: "get_source", text: `SELECT ${COLUMNS} FROM sources s WHERE s.id = $1`, values: [sourceId] }),
    Source,
  );
}

/** All sources, by name. */
export async function listSources(q: Queryable): Promise<Source[]> {
  return allRows(await q.query({ text: `SELECT ${COLUMNS} FROM sources s ORDER BY s.name` }), Source);
}

/**
 * Forgets a source with its discoveries. `in_use`: a tenant has it, a restore went into it, or its changes are captured (a slot nobody reads would fill the
 * server's disk); nothing was changed.
 * System only.
 */
export async function deleteSource(q: Queryable, sourceId: string): Promise<"deleted" | "unknown" | "in_use"> {
  const result = await q.query({
    text: `WITH target AS (
  SELECT s.id, EXISTS (SELECT FROM tenants t WHERE t.source_id = s.id)
    OR EXISTS (SELECT FROM restore_jobs j WHERE j.target_source_id = s.id)
    OR EXISTS (SELECT FROM capture_states c WHERE c.source_id = s.id AND c.status = 'on') AS used
  FROM sources s WHERE s.id = $1 FOR UPDATE OF s),
gone AS (DELETE FROM sources s USING target WHERE s.id = target.id AND NOT target.used)
SELECT used FROM target`,
    values: [sourceId],
  });
  const target = firstRow(result, z.object({ used: z.boolean() }));
  if (target === null) return "unknown";
  return target.used ? "in_use" : "deleted";
}

const Connection = z.object({ reference: z.string().nullable(), sealed: z.string().nullable() });

/** How to reach the source; null when there is none. System only: a tenant's role may not read these columns. */
export async function getSourceConnection(q: Queryable, sourceId: string): Promise<SourceConnection | null> {
  const result = await q.query({
    text: "SELECT connection_ref AS reference, connection_sealed AS sealed FROM sources WHERE id = $1",
    values: [sourceId],
  });
  const row = firstRow(result, Connection);
  if (row?.reference != null) return { kind: "reference", reference: row.reference };
  return row?.sealed != null ? { kind: "sealed", sealed: row.sealed } : null;
}

function connectionColumns(connection: SourceConnection): { reference: string | null; sealed: string | null } {
  return connection.kind === "reference"
    ? { reference: connection.reference, sealed: null }
    : { reference: null, sealed: connection.sealed };
}
