import { RecoveryError } from "../errors.ts";
import { findTable, sameTable } from "./catalog-lookup.ts";
import type { Catalog, CatalogTable, ForeignKey } from "./catalog-types.ts";
import { quoteName, quoteTable } from "./identifiers.ts";
import { type ForeignKeyStep, type TableName, type TableScope, type Tenancy, tableLabel } from "./tenancy.ts";
import { keyComparison } from "./tenant-key.ts";

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
export function tenantRows(target: ScopedTable, columns: readonly string[]): string {
  const selected = columns.map((column) => `t.${quoteName(column)}`).join(", ");
  const predicate = tenantPredicate(target, "t");
  const where = predicate === "true" ? "" : ` WHERE ${predicate}`;
  return `SELECT ${selected} FROM ${fromTable(target.catalog, target.table)} AS t${where}`;
}

/** The same condition as a boolean SQL expression over `alias` (written as it stands), for UPDATE, DELETE and counts. */
export function tenantPredicate(target: ScopedTable, alias: string): string {
  const { catalog, scope, tenantKey } = target;
  const table = requireTable(catalog, target.table);
  switch (scope.kind) {
    case "root":
    case "direct":
      return keyPredicate(table, scope.column, alias, tenantKey);
    case "via":
      return viaPredicate(catalog, table, scope, alias, tenantKey);
    case "schema":
      requireOwnSchema(target);
      return "true";
    case "shared":
      throw new RecoveryError(
        "table_unprotected",
        `${tableLabel(target.table)} is shared: none of its rows are a tenant's.`,
        {
          table: tableLabel(target.table),
          hint: "Leave the table out, or add a rule that gives it a tenant column.",
        },
      );
  }
}

/** `[ONLY] <table>` for reads and writes that must touch this table's own rows and no inheritance child's. */
export function fromTable(catalog: Catalog, table: TableName): string {
  const { kind } = requireTable(catalog, table);
  // Always, for plain tables: one that gets its first child between planning and reading would otherwise bring its rows along.
  return kind === "table" ? `ONLY ${quoteTable(table)}` : quoteTable(table);
}

/** In schema mode: the schema of this tenant. In column mode: null. */
export function tenantSchema(tenancy: Tenancy, tenantKey: string): string | null {
  return tenancy.mode === "schema" ? tenancy.pattern.replaceAll("{key}", () => tenantKey) : null;
}

function keyPredicate(table: CatalogTable, columnName: string, alias: string, tenantKey: string): string {
  const column = table.columns.find((candidate) => candidate.name === columnName);
  if (column === undefined) throw drifted(table.table, `its column ${columnName} is gone`);
  const comparison = keyComparison(column, tenantKey);
  if (comparison === null) {
    throw new RecoveryError(
      "tenant_not_in_source",
      `${tableLabel(table.table)}.${columnName} can't hold this tenant's key.`,
      {
        table: tableLabel(table.table),
        hint: `Correct the tenant's key: the column is of type ${column.type}.`,
      },
    );
  }
  return `${alias}.${quoteName(columnName)} ${comparison}`;
}

/**
 * Nested EXISTS, one per foreign key: the planner turns them into semi-joins that use the referenced keys' indexes, and a row never
 * comes twice. Operators are the constraint's own: with an empty search_path a bare `=` compares citext as text.
 */
function viaPredicate(
  catalog: Catalog,
  table: CatalogTable,
  scope: TableScope & { kind: "via" },
  alias: string,
  tenantKey: string,
): string {
  const hop = (near: CatalogTable, nearAlias: string, depth: number): string => {
    const step = scope.path[depth];
    if (step === undefined) return keyPredicate(near, scope.column, nearAlias, tenantKey);
    const key = requireForeignKey(catalog, near.table, step);
    const far = requireTable(catalog, step.to);
    const farAlias = `p${depth + 1}`;
    const joined = key.columns.map(
      (column, index) =>
        `${farAlias}.${quoteName(key.referenced[index] ?? "")} ${key.operators[index] ?? ""} ${nearAlias}.${quoteName(column)}`,
    );
    const rest = hop(far, farAlias, depth + 1);
    return `EXISTS (SELECT FROM ${fromTable(catalog, step.to)} AS ${farAlias} WHERE ${[...joined, rest].join(" AND ")})`;
  };
  return hop(table, alias, 0);
}

function requireForeignKey(catalog: Catalog, from: TableName, step: ForeignKeyStep): ForeignKey {
  const same = (key: ForeignKey): boolean =>
    !key.partial &&
    sameTable(key.from, from) &&
    sameTable(key.to, step.to) &&
    sameList(key.columns, step.columns) &&
    sameList(key.referenced, step.referenced);
  const found =
    catalog.foreignKeys.find((key) => key.constraint === step.constraint && same(key)) ??
    catalog.foreignKeys.find(same);
  if (found === undefined) throw drifted(from, `its foreign key ${step.constraint} is gone or changed`);
  return found;
}

/** A schema tenant's tables live in its schema; reading another's would be another tenant's rows. */
function requireOwnSchema({ table, tenancy, tenantKey }: ScopedTable): void {
  const schema = tenantSchema(tenancy, tenantKey);
  if (schema !== table.schema) {
    throw new RecoveryError("unknown_table", `${tableLabel(table)} is not in the tenant's schema.`, {
      table: tableLabel(table),
      hint: "Name tables of the tenant's own schema.",
    });
  }
}

function requireTable(catalog: Catalog, table: TableName): CatalogTable {
  const found = findTable(catalog, table);
  if (found === undefined) {
    throw new RecoveryError("unknown_table", `The source has no table ${tableLabel(table)}.`, {
      table: tableLabel(table),
      hint: "Run discovery to see the source's tables.",
    });
  }
  return found;
}

function drifted(table: TableName, what: string): RecoveryError {
  return new RecoveryError("schema_drift", `${tableLabel(table)} can't be scoped to its tenant as before: ${what}.`, {
    table: tableLabel(table),
    hint: "Run discovery again, and settle the table with a rule.",
  });
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value, index) => value === b[index]);
}
