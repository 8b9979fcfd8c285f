import {
  type Backup,
  getSource,
  getTenant,
  listProtectedTables,
  type ProtectedTable,
  type TenantClient,
} from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import { TableScope, Tenancy } from "@rowback/recovery/plans";
import { notFound } from "./problem.ts";
import type { KnownTable } from "./table-selection.ts";

/** The tables of a tenant's source, as its last discovery found them. Throws `conflict` when there was none yet. */
export async function discoveredTables(client: TenantClient): Promise<{ sourceId: string; tables: KnownTable[] }> {
  const tenant = await getTenant(client, client.tenantId);
  const source = tenant === null ? null : await getSource(client, tenant.sourceId);
  if (tenant === null || source === null) throw notFound("tenant");
  if (source.discoveredAt === null) {
    throw new RecoveryError("conflict", "The source was never discovered, so no table of it is known.", {
      hint: "Have an operator run POST /v1/sources/:id/discovery, or leave `tables` out.",
      sourceId: source.id,
      tenantId: tenant.id,
    });
  }
  const tables = await listProtectedTables(client, source.id);
  return { sourceId: source.id, tables: tablesOfTenant(tables, Tenancy.parse(source.tenancy), tenant.key) };
}

/**
 * What a tenant may hear of: with a schema per tenant the others' schemas are in the same list, and not even
 * "it is in several schemas" may name them.
 */
export function tablesOfTenant(tables: readonly ProtectedTable[], tenancy: Tenancy, tenantKey: string): KnownTable[] {
  const schema = tenancy.mode === "schema" ? tenancy.pattern.replace("{key}", () => tenantKey) : null;
  return tables
    .filter((table) => schema === null || table.schemaName === schema)
    .map((table) => ({ schema: table.schemaName, name: table.tableName, obstacle: obstacleOf(table) }));
}

function obstacleOf(table: ProtectedTable): string | null {
  if (table.scope === null) return `it is not protected (${table.unprotectedReason?.message ?? "no rule covers it"})`;
  return TableScope.parse(table.scope).kind === "shared" ? "it holds no tenant's rows" : null;
}

/** The tables that a backup holds. */
export function tablesOfBackup(backup: Backup): KnownTable[] {
  return (backup.tableStats ?? []).map(({ table }) => {
    const dot = table.indexOf(".");
    return { schema: table.slice(0, dot), name: table.slice(dot + 1), obstacle: null };
  });
}
