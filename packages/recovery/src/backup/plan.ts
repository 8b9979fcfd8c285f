import { RecoveryError } from "../errors.ts";
import type { Catalog, CatalogTable } from "../postgres/catalog-types.ts";
import type { DiscoveredTable } from "../postgres/discovery.ts";
import type { Finding } from "../postgres/finding.ts";
import { tenantRows, tenantSchema } from "../postgres/scope-sql.ts";
import { type TableName, type TableScope, type Tenancy, tableLabel } from "../postgres/tenancy.ts";
import { parentsFirst } from "./parents-first.ts";

export interface PlanRequest {
  readonly tenancy: Tenancy;
  readonly tenantKey: string;
  /** `schema.name`, or a bare name where only one of the tenant's tables has it; null for all. */
  readonly tables: readonly string[] | null;
}

export interface PlannedTable {
  readonly source: CatalogTable;
  readonly scope: TableScope;
  /** Stored columns, in the order of the COPY text. */
  readonly columns: readonly CatalogTable["columns"][number][];
  /** `COPY (…) TO STDOUT` for this tenant's rows. */
  readonly copy: string;
}

export interface BackupPlan {
  readonly catalog: Catalog;
  /** About how many tenants share these tables; 1 where nobody knows. */
  readonly tenants: number;
  /** Parents first: the order of the manifest. */
  readonly tables: readonly PlannedTable[];
  /** The SELECT of the tenant's row in the tenants table, where that table exists and is not among `tables`. */
  readonly tenantQuery: string | null;
  /** The tenants table, when it is among `tables`: it must give a row. */
  readonly tenantTable: TableName | null;
  /** What discovery warned of that this backup may lack: its outcome names them. */
  readonly findings: readonly Finding[];
}

type Protected = { readonly source: CatalogTable; readonly scope: TableScope };

/**
 * Which tables a backup reads, and with which SQL. Pure. Refuses whatever would make the backup silently partial.
 * @throws RecoveryError `unknown_table`, `table_unprotected`, `source_rls_active`, `source_privilege_missing`, `tenant_not_in_source`
 */
export function planBackup(catalog: Catalog, discovered: readonly DiscoveredTable[], request: PlanRequest): BackupPlan {
  const known = new Map(catalog.tables.map((table) => [tableLabel(table.table), table]));
  const own = discovered.filter((found) => isTenants(found, request));
  const chosen = request.tables === null ? own : choose(own, request.tables);
  const protectedTables = chosen.flatMap((found) => protect(found, known));
  if (request.tenancy.mode === "schema" && protectedTables.length === 0) {
    throw new RecoveryError("tenant_not_in_source", "The source has no tables in this tenant's schema", {
      hint: "Check the tenant's key and the source's schema pattern.",
    });
  }
  const tables = parentsFirst(protectedTables, catalog.foreignKeys).map((table) => planTable(catalog, table, request));
  const root = own.find((found) => found.scope?.kind === "root");
  const rootIsRead = root !== undefined && chosen.includes(root);
  return {
    catalog,
    tenants: Math.max(1, (root === undefined ? undefined : known.get(tableLabel(root.table)))?.estimatedRows ?? 1),
    tables,
    tenantTable: rootIsRead ? root.table : null,
    findings: chosen.flatMap((found) => found.warnings),
    tenantQuery:
      root?.scope?.kind === "root" && !rootIsRead
        ? select(catalog, root.table, root.scope, [root.scope.column], request)
        : null,
  };
}

/** In schema mode the other tenants' schemas are none of this backup's business. */
function isTenants(found: DiscoveredTable, { tenancy, tenantKey }: PlanRequest): boolean {
  const schema = tenantSchema(tenancy, tenantKey);
  return schema === null || found.scope?.kind !== "schema" || found.table.schema === schema;
}

function choose(own: readonly DiscoveredTable[], names: readonly string[]): DiscoveredTable[] {
  const chosen = names.map((name) => {
    const exact = own.find((found) => tableLabel(found.table) === name);
    const bare = own.filter((found) => found.table.name === name);
    if (exact === undefined && bare.length > 1) {
      throw new RecoveryError("unknown_table", `Several tables are called ${name}`, {
        table: name,
        hint: `Name one of ${bare.map((found) => tableLabel(found.table)).join(", ")}.`,
      });
    }
    const found = exact ?? bare[0];
    if (found === undefined || found.scope?.kind === "shared") {
      throw new RecoveryError("unknown_table", `${name} is not a table that holds rows of this tenant`, {
        table: name,
        hint: "See the source's discovery for the tables it has.",
      });
    }
    return found;
  });
  return own.filter((found) => chosen.includes(found));
}

function protect(found: DiscoveredTable, known: ReadonlyMap<string, CatalogTable>): Protected[] {
  const table = tableLabel(found.table);
  if (found.scope === null) {
    throw new RecoveryError("table_unprotected", `${table} is covered by no rule: ${found.reason.message}`, {
      table,
      hint: found.reason.hint,
    });
  }
  if (found.scope.kind === "shared") return [];
  const source = known.get(table);
  if (source === undefined) throw new RecoveryError("unknown_table", `The source has no table ${table}`, { table });
  if (source.rowSecurity.active) {
    throw new RecoveryError("source_rls_active", `Row-level security would hide rows of ${table} from Rowback's role`, {
      table,
      hint: "Give the role BYPASSRLS: ALTER ROLE … BYPASSRLS.",
    });
  }
  if (!source.privileges.select) {
    throw new RecoveryError("source_privilege_missing", `Rowback's role may not read ${table}`, {
      table,
      hint: "Grant it SELECT on the table.",
    });
  }
  return [{ source, scope: found.scope }];
}

function planTable(catalog: Catalog, { source, scope }: Protected, request: PlanRequest): PlannedTable {
  const columns = source.columns.filter((column) => column.generated === null);
  if (columns.length === 0) {
    const table = tableLabel(source.table);
    throw new RecoveryError("table_unprotected", `${table} has no stored column, so its rows can't be copied`, {
      table,
    });
  }
  const names = columns.map((column) => column.name);
  return { source, scope, columns, copy: `COPY (${select(catalog, source.table, scope, names, request)}) TO STDOUT` };
}

function select(
  catalog: Catalog,
  table: TableName,
  scope: TableScope,
  columns: readonly string[],
  { tenancy, tenantKey }: PlanRequest,
): string {
  return tenantRows({ catalog, table, scope, tenancy, tenantKey }, columns);
}
