import type { Catalog } from "./catalog-types.ts";
import type { TableName, TableScope, Tenancy } from "./tenancy.ts";

export interface ScopedTable {
  readonly catalog: Catalog;
  readonly table: TableName;
  readonly scope: TableScope;
  readonly tenancy: Tenancy;
  readonly tenantKey: string;
}

/**
 * `SELECT <columns> FROM [ONLY] <table> AS t WHERE <the tenant's rows>`, one row of the result per row of the table.
 * Complete SQL text with every identifier and literal escaped, fit for `COPY (…) TO STDOUT`.
 * Throws `unknown_table` (no such table in the catalogue), `schema_drift` (the scope no longer fits it),
 * `tenant_not_in_source` (the key can't be a value of the scoping column), `table_unprotected` (a shared table has no tenant's rows).
 */
export function tenantRows(_target: ScopedTable, _columns: readonly string[]): string {
  throw new Error("not built yet");
}

/** The same condition as a boolean SQL expression over `alias` (written as it stands), for UPDATE, DELETE and counts. */
export function tenantPredicate(_target: ScopedTable, _alias: string): string {
  throw new Error("not built yet");
}

/** `[ONLY] <table>` for reads and writes that must touch this table's own rows and no inheritance child's. */
export function fromTable(_catalog: Catalog, _table: TableName): string {
  throw new Error("not built yet");
}

/** In schema mode: the schema of this tenant. In column mode: null. */
export function tenantSchema(tenancy: Tenancy, tenantKey: string): string | null {
  return tenancy.mode === "schema" ? tenancy.pattern.replaceAll("{key}", tenantKey) : null;
}
