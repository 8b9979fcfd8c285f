import { z } from "zod";
import { RecoveryError } from "../errors.ts";
import { findTable, tableKey } from "./catalog-lookup.ts";
import type { Catalog } from "./catalog-types.ts";
import { fromTable } from "./scope-sql.ts";
import type { SourceClient } from "./source.ts";
import { type TableName, type TableScope, tableLabel } from "./tenancy.ts";

/**
 * A table's file, or its place in a partitioned table, that is another now than in this session's snapshot. `pg_relation_filenode` and
 * `pg_partition_root` look at the present, the scan of pg_class at the snapshot.
 */
const MOVED = `
  WITH RECURSIVE held(oid, root) AS (
    SELECT r.oid, r.oid FROM unnest($1::oid[]) AS r(oid)
    UNION ALL
    SELECT i.inhrelid, h.root FROM held h JOIN pg_inherits i ON i.inhparent = h.oid JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition
  )
  SELECT n.nspname AS schema, c.relname AS name
  FROM held h JOIN pg_class c ON c.oid = h.oid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE (c.relkind = 'r' AND pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode)
    OR (h.oid <> h.root AND pg_partition_root(h.oid) IS DISTINCT FROM h.root::regclass)
  ORDER BY 1, 2`;

export interface HeldTable {
  readonly table: TableName;
  readonly scope: TableScope;
}

/**
 * Keeps these tables, and those on their paths to a tenant, from being truncated, rewritten, dropped or detached until the transaction ends (ACCESS SHARE, as a SELECT takes),
 * and makes sure that it has not happened since the snapshot. A table that was truncated or rewritten in between reads as **empty** under
 * an older snapshot (PostgreSQL manual 13.6, "Caveats"), so a backup would silently lose it.
 * Throws `source_conflict` (retryable): a new snapshot sees the table as it is.
 */
export async function holdTables(client: SourceClient, catalog: Catalog, tables: readonly HeldTable[]): Promise<void> {
  const held = withPaths(tables);
  if (held.length === 0) return;
  await client.query(`LOCK TABLE ${held.map((table) => fromTable(catalog, table)).join(", ")} IN ACCESS SHARE MODE`);
  const oids = held.flatMap((table) => findTable(catalog, table)?.oid ?? []);
  const { rows } = await client.query({ name: "rowback_hold_tables", text: MOVED, values: [oids] });
  const [moved] = z.array(z.object({ schema: z.string(), name: z.string() })).parse(rows);
  if (moved === undefined) return;
  throw new RecoveryError(
    "source_conflict",
    `${tableLabel(moved)} was truncated, rewritten or detached just after the snapshot was taken.`,
    {
      table: tableLabel(moved),
      hint: "Try again; a new snapshot sees the table as it is now.",
    },
  );
}

/** An emptied parent would hide its children's rows just as well. */
function withPaths(tables: readonly HeldTable[]): TableName[] {
  const all = tables.flatMap(({ table, scope }) => [
    table,
    ...(scope.kind === "via" ? scope.path.map((step) => step.to) : []),
  ]);
  return [...new Map(all.map((table) => [tableKey(table), table])).values()];
}
