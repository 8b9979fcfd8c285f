import { z } from "zod";
import { findTable, sameTable, tableKey } from "./catalog-lookup.ts";
import type { Catalog, CatalogTable } from "./catalog-types.ts";
import { Finding, UnprotectedReason } from "./finding.ts";
import { followTenants, type Settled } from "./fk-paths.ts";
import { scopeByRule } from "./scope-rules.ts";
import { type ScopeRule, TableName, TableScope, type Tenancy, tableLabel } from "./tenancy.ts";
import { findTenantColumns, type TenantColumns } from "./tenant-columns.ts";
import { tenantKeyOf } from "./tenant-schema.ts";

/** What discovery decided for one table. */
export const DiscoveredTable = z.union([
  z.object({ table: TableName, scope: TableScope, reason: z.null(), warnings: z.array(Finding) }),
  z.object({ table: TableName, scope: z.null(), reason: UnprotectedReason, warnings: z.array(Finding) }),
]);
export type DiscoveredTable = z.infer<typeof DiscoveredTable>;

/**
 * Every table of the catalogue with its scope, or the reason it has none; in the catalogue's order. Pure, and the same for the same
 * catalogue. First what is said (rules), then what is seen (the tenants table, tenant columns), then what follows (foreign keys), and
 * what is left is decided by docs/decisions/0020-assumed-shared.md.
 */
export function planScopes(catalog: Catalog, tenancy: Tenancy, rules: readonly ScopeRule[]): DiscoveredTable[] {
  const columns = findTenantColumns(catalog, tenancy);
  const ruled = new Map(rules.map((rule) => [tableKey(rule.table), rule]));
  const settled = new Map<string, Settled>();
  for (const table of catalog.tables) {
    const rule = ruled.get(tableKey(table.table));
    const found = rule === undefined ? scopeBySight(table, tenancy, columns) : scopeByRule(catalog, table, rule);
    if (found !== null) settled.set(tableKey(table.table), found);
  }
  const all = followTenants(catalog, settled);
  return catalog.tables.map((table): DiscoveredTable => {
    const found = all.get(tableKey(table.table)) ?? left(catalog, table, tenancy, columns, all);
    const warnings = (found.warnings ?? []).map((warning) => ({ ...warning, table: table.table }));
    return found.scope === null
      ? { table: table.table, scope: null, reason: found.reason, warnings }
      : { table: table.table, scope: found.scope, reason: null, warnings };
  });
}

/** What the table itself shows: where it lives, what kind it is, which columns it has. */
function scopeBySight(table: CatalogTable, tenancy: Tenancy, columns: TenantColumns): Settled | null {
  if (table.kind === "foreign") return foreign(table.table);
  if (tenancy.mode === "schema") {
    return tenantKeyOf(tenancy, table.table.schema) === null ? null : { scope: { kind: "schema" } };
  }
  if (columns.root !== null && sameTable(columns.root.table, table.table)) {
    return { scope: { kind: "root", column: columns.root.column }, warnings: columns.rootWarnings };
  }
  return columns.judge(table);
}

function foreign(table: TableName): Settled {
  return {
    scope: null,
    reason: {
      code: "foreign_table",
      message: "it is a foreign table: its rows are another server's, outside the snapshot",
      hint: "Register that server as a source of its own, and mark the table as shared here.",
      choices: [{ table, scope: { kind: "shared" } }],
    },
  };
}

/** Nothing ties the table to a tenant: nobody's, unless it looks otherwise. */
function left(
  catalog: Catalog,
  table: CatalogTable,
  tenancy: Tenancy,
  columns: TenantColumns,
  all: ReadonlyMap<string, Settled>,
): Settled {
  if (tenancy.mode === "schema")
    return { scope: { kind: "shared" }, warnings: [assumedShared("it lies outside the tenants' schemas")] };
  const looksLike = columns.lookalike(table);
  if (looksLike !== null) {
    return {
      scope: null,
      reason: {
        code: "tenant_like_column",
        message: `no foreign key ties it to a tenant, but its column ${looksLike} looks like one that names tenants`,
        hint: "Add a rule: direct by that column, or shared.",
        choices: [
          { table: table.table, scope: { kind: "direct", column: looksLike } },
          { table: table.table, scope: { kind: "shared" } },
        ],
      },
    };
  }
  const owner = oneToOneOwner(catalog, table, all);
  if (owner !== null) {
    return {
      scope: null,
      reason: {
        code: "owned_by_reference",
        message: `each of its rows seems to belong to one row of ${tableLabel(owner)}, which refers to it by a unique foreign key`,
        hint: `Give it a tenant column or a foreign key to ${tableLabel(owner)}; or add a rule: shared.`,
        choices: [{ table: table.table, scope: { kind: "shared" } }],
      },
    };
  }
  return { scope: { kind: "shared" }, warnings: [assumedShared("no foreign key leads from it to a tenant")] };
}

function assumedShared(why: string): Omit<Finding, "table"> {
  return {
    severity: "warning",
    code: "assumed_shared",
    message: `It is taken for nobody's and is not backed up, because ${why}.`,
    hint: "Add a rule: shared if that is right, direct or via if it holds tenants' rows.",
  };
}

/** A tenant's table that refers to this one by a foreign key that is also unique: one row there, one row here. */
function oneToOneOwner(catalog: Catalog, table: CatalogTable, all: ReadonlyMap<string, Settled>): TableName | null {
  for (const key of catalog.foreignKeys) {
    if (!sameTable(key.to, table.table) || sameTable(key.from, table.table)) continue;
    const from = findTable(catalog, key.from);
    const scope = all.get(tableKey(key.from))?.scope;
    if (from === undefined || scope === null || scope === undefined || scope.kind === "shared") continue;
    const unique = from.uniqueConstraints.some((one) => one.columns.every((column) => key.columns.includes(column)));
    if (unique) return key.from;
  }
  return null;
}
