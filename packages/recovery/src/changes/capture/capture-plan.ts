import { tableKey } from "../../postgres/catalog-lookup.ts";
import type { Catalog, ForeignKey } from "../../postgres/catalog-types.ts";
import { planScopes } from "../../postgres/discovery.ts";
import { quoteName } from "../../postgres/identifiers.ts";
import { fromTable } from "../../postgres/scope-sql.ts";
import type { ForeignKeyStep, ScopeRule, TableName, TableScope, Tenancy } from "../../postgres/tenancy.ts";
import { tenantKeyOf } from "../../postgres/tenant-schema.ts";

/** The way from a parent's referenced columns to its tenant. The same way has the same id, whatever table it began at. */
export interface Route {
  readonly id: string;
  /** The parent, and the columns of it that the child refers to. */
  readonly parent: TableName;
  readonly referenced: readonly string[];
  /** What tells the parent's own tenant: a column of it, or the way on from columns of it. */
  readonly answer: { readonly column: string } | { readonly columns: readonly string[]; readonly route: Route };
  /**
   * Finds tenants by the referenced values: `$1`, `$2`, … are arrays of texts, one per referenced column; each answer has `position`
   * (from 1), `tenant` (text or null) and `xmins` (of the rows on the way).
   */
  readonly sql: string;
}

/** How the tenant of a table's row is told. */
export type TenantRule =
  | { readonly kind: "constant"; readonly tenant: string }
  | { readonly kind: "column"; readonly column: string }
  | { readonly kind: "via"; readonly columns: readonly string[]; readonly route: Route };

export interface PlannedCapture {
  readonly table: TableName;
  readonly scope: TableScope;
  readonly rule: TenantRule;
  /** The ways of other tables' rows that begin at a row of this one. */
  readonly leadTo: readonly Route[];
}

/** What is captured and how, by `tableKey`. Tables that are shared, or that no rule covers, are not in it. */
export type CapturePlan = ReadonlyMap<string, PlannedCapture>;

/** Pure, and the same for the same catalogue. */
export function planCapture(catalog: Catalog, tenancy: Tenancy, rules: readonly ScopeRule[]): CapturePlan {
  const routes = new Map<string, Route>();
  const ruled = planScopes(catalog, tenancy, rules).flatMap(({ table, scope }) => {
    const rule = scope === null ? null : tenantRule(catalog, table, scope, tenancy, routes);
    return scope === null || rule === null ? [] : [{ table, scope, rule }];
  });
  const leading = Map.groupBy(routes.values(), (route) => tableKey(route.parent));
  return new Map(ruled.map((one) => [tableKey(one.table), { ...one, leadTo: leading.get(tableKey(one.table)) ?? [] }]));
}

function tenantRule(
  catalog: Catalog,
  table: TableName,
  scope: TableScope,
  tenancy: Tenancy,
  routes: Map<string, Route>,
): TenantRule | null {
  switch (scope.kind) {
    case "root":
    case "direct":
      return { kind: "column", column: scope.column };
    case "via": {
      const [first] = scope.path;
      if (first === undefined) return null;
      const route = routeAlong(catalog, table, scope.path, scope.column, routes);
      return route === null ? null : { kind: "via", columns: first.columns, route };
    }
    case "schema": {
      const tenant = tenancy.mode === "schema" ? tenantKeyOf(tenancy, table.schema) : null;
      return tenant === null ? null : { kind: "constant", tenant };
    }
    case "shared":
      return null;
  }
}

/** The route of a path's first step, and those of the steps behind it. Null where a foreign key of it is gone. */
function routeAlong(
  catalog: Catalog,
  from: TableName,
  path: readonly ForeignKeyStep[],
  column: string,
  routes: Map<string, Route>,
): Route | null {
  const [step, ...rest] = path;
  if (step === undefined) return null;
  const id = JSON.stringify([
    step.to,
    step.referenced,
    rest.map(({ to, columns, referenced }) => [to, columns, referenced]),
    column,
  ]);
  const known = routes.get(id);
  if (known !== undefined) return known;
  const [next] = rest;
  const onward = next === undefined ? null : routeAlong(catalog, step.to, rest, column, routes);
  if (next !== undefined && onward === null) return null;
  const sql = routeSql(catalog, from, path, column);
  if (sql === null) return null;
  const answer = next === undefined || onward === null ? { column } : { columns: next.columns, route: onward };
  const route: Route = { id, parent: step.to, referenced: step.referenced, answer, sql };
  routes.set(id, route);
  return route;
}

function routeSql(catalog: Catalog, from: TableName, path: readonly ForeignKeyStep[], column: string): string | null {
  let near = from;
  const joins: string[] = [];
  const keys: ForeignKey[] = [];
  for (const [depth, step] of path.entries()) {
    const key = findKey(catalog, near, step);
    if (key === null) return null;
    keys.push(key);
    const on = key.columns.map((child, index) => {
      const value =
        depth === 0
          ? `k.${quoteName(`c${index}`)}::${typeOf(catalog, near, child)}`
          : `p${depth - 1}.${quoteName(child)}`;
      return `p${depth}.${quoteName(key.referenced[index] ?? "")} ${key.operators[index] ?? "="} ${value}`;
    });
    joins.push(`JOIN ${fromTable(catalog, step.to)} AS p${depth} ON ${on.join(" AND ")}`);
    near = step.to;
  }
  const first = keys[0];
  if (first === undefined) return null;
  const names = first.columns.map((_, index) => quoteName(`c${index}`));
  const values = first.columns.map((_, index) => `$${index + 1}::text[]`);
  const xmins = path.map((_, depth) => `p${depth}.xmin::text`);
  return `SELECT k.position::int AS position, p${path.length - 1}.${quoteName(column)}::text AS tenant, ARRAY[${xmins.join(", ")}] AS xmins
FROM unnest(${values.join(", ")}) WITH ORDINALITY AS k(${names.join(", ")}, position) ${joins.join(" ")}`;
}

function findKey(catalog: Catalog, from: TableName, step: ForeignKeyStep): ForeignKey | null {
  const same = (a: readonly string[], b: readonly string[]): boolean => a.join("\0") === b.join("\0");
  return (
    catalog.foreignKeys.find(
      (key) =>
        !key.partial &&
        tableKey(key.from) === tableKey(from) &&
        tableKey(key.to) === tableKey(step.to) &&
        same(key.columns, step.columns) &&
        same(key.referenced, step.referenced),
    ) ?? null
  );
}

function typeOf(catalog: Catalog, table: TableName, column: string): string {
  const found = catalog.tables.find((candidate) => tableKey(candidate.table) === tableKey(table));
  return found?.columns.find((candidate) => candidate.name === column)?.type ?? "text";
}
