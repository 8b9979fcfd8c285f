import { compare } from "./catalog-build.ts";
import { findTable, sameTable, tableKey } from "./catalog-lookup.ts";
import type { Catalog, CatalogColumn, CatalogTable } from "./catalog-types.ts";
import type { Finding } from "./finding.ts";
import type { Settled } from "./fk-paths.ts";
import { type TableName, type Tenancy, tableLabel } from "./tenancy.ts";
import { type KeyFamily, keyFamily } from "./tenant-key.ts";

export interface TenantColumns {
  /** The tenants table and the column that holds the key; null when none can be told. */
  readonly root: { readonly table: TableName; readonly column: string } | null;
  readonly rootWarnings: readonly Omit<Finding, "table">[];
  /** What the table's own tenant column makes of it; null when it has none. */
  judge(table: CatalogTable): Settled | null;
  /** The name of a column that looks as if it named tenants, by its name and type; null when there is none. */
  lookalike(table: CatalogTable): string | null;
}

/** Finds the tenants table and the columns that name tenants. In schema mode there are none. Pure. */
export function findTenantColumns(catalog: Catalog, tenancy: Tenancy): TenantColumns {
  if (tenancy.mode === "schema") {
    return { root: null, rootWarnings: [], judge: () => null, lookalike: () => null };
  }
  const { column: name } = tenancy;
  const named = tenancy.root === undefined ? undefined : findTable(catalog, tenancy.root);
  const root = named === undefined ? mostReferenced(catalog, name) : rootOf(catalog, named, name);
  const family = rootFamily(catalog, root) ?? mostCommonFamily(catalog, name);
  const lookalikes = lookalikeNames(name, root?.table.name);
  return {
    root,
    rootWarnings:
      tenancy.root !== undefined && named === undefined
        ? [
            {
              severity: "warning",
              code: "root_missing",
              message: `The tenants table named in the tenancy, ${tableLabel(tenancy.root)}, does not exist; this table was found instead.`,
              hint: "Correct the source's tenancy.",
            },
          ]
        : [],
    judge: (table) => judgeColumn(table, name, family),
    lookalike: (table) =>
      table.columns.find((column) => lookalikes.has(normalized(column.name)) && fits(column, family))?.name ?? null,
  };
}

function judgeColumn(table: CatalogTable, name: string, family: KeyFamily | null): Settled | null {
  const column = table.columns.find((candidate) => candidate.name === name);
  if (column === undefined) return null;
  const choices = [
    { table: table.table, scope: { kind: "direct" as const, column: name } },
    { table: table.table, scope: { kind: "shared" as const } },
  ];
  if (!fits(column, family)) {
    return {
      scope: null,
      reason: {
        code: "tenant_column_incompatible",
        message: `its column ${name} is of type ${column.type}, which can't be compared with the tenants' keys`,
        hint: "Change the column's type to that of the tenants' keys; or add a rule.",
        choices: keyFamily(column) === null ? choices.slice(1) : choices,
      },
    };
  }
  if (!column.notNull) {
    return {
      scope: null,
      reason: {
        code: "tenant_column_nullable",
        message: `its column ${name} may be NULL, and such rows would belong to nobody`,
        hint: `Make the column NOT NULL; or add a rule: direct by ${name}, if rows without a tenant need no backup.`,
        choices,
      },
    };
  }
  return { scope: { kind: "direct", column: name } };
}

function fits(column: CatalogColumn, family: KeyFamily | null): boolean {
  const own = keyFamily(column);
  return own !== null && column.equality !== null && (family === null || own === family);
}

/** The table that foreign keys of the tenant column alone refer to most; by name where two are even. */
function mostReferenced(catalog: Catalog, name: string): TenantColumns["root"] {
  const counts = new Map<string, { table: TableName; column: string; count: number }>();
  for (const key of catalog.foreignKeys) {
    const [column] = key.referenced;
    if (key.partial || column === undefined || key.columns.length !== 1 || key.columns[0] !== name) continue;
    if (sameTable(key.from, key.to)) continue;
    const id = `${tableKey(key.to)}${column}`;
    const entry = counts.get(id) ?? { table: key.to, column, count: 0 };
    counts.set(id, { ...entry, count: entry.count + 1 });
  }
  const [best] = [...counts].toSorted(([a, x], [b, y]) => y.count - x.count || compare(a, b));
  return best === undefined ? null : { table: best[1].table, column: best[1].column };
}

function rootOf(catalog: Catalog, table: CatalogTable, name: string): TenantColumns["root"] {
  const referenced = catalog.foreignKeys.find(
    (key) => !key.partial && sameTable(key.to, table.table) && key.columns.length === 1 && key.columns[0] === name,
  )?.referenced[0];
  const own = table.columns.some((column) => column.name === name) ? name : undefined;
  const column = referenced ?? (table.key?.length === 1 ? table.key[0] : undefined) ?? own;
  return column === undefined ? null : { table: table.table, column };
}

function rootFamily(catalog: Catalog, root: TenantColumns["root"]): KeyFamily | null {
  const table = root === null ? undefined : findTable(catalog, root.table);
  const column = table?.columns.find((candidate) => candidate.name === root?.column);
  return column === undefined ? null : keyFamily(column);
}

function mostCommonFamily(catalog: Catalog, name: string): KeyFamily | null {
  const families = catalog.tables.flatMap((table) => {
    const column = table.columns.find((candidate) => candidate.name === name);
    return (column === undefined ? null : keyFamily(column)) ?? [];
  });
  const counts = [...Map.groupBy(families, (family) => family)];
  return counts.toSorted(([a, x], [b, y]) => y.length - x.length || compare(a, b))[0]?.[0] ?? null;
}

/** `tenant_id` → tenantid, tenant, tenantuuid, tenantkey; the same of the tenants table's name in the singular. */
function lookalikeNames(column: string, root: string | undefined): ReadonlySet<string> {
  const stems = [normalized(column).replace(/(id|uuid|key)$/, "")];
  if (root !== undefined) stems.push(normalized(root).replace(/s$/, ""));
  return new Set(
    stems.filter((stem) => stem !== "").flatMap((stem) => [stem, `${stem}id`, `${stem}uuid`, `${stem}key`]),
  );
}

function normalized(name: string): string {
  return name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
}
