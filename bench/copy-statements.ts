import { openSource, planBackup, planScopes, readCatalog } from "@rowback/recovery";

/** The statements with which a backup reads these tenants: for each key its `COPY (…) TO STDOUT`s, in the order of the manifest. */
export async function copyStatements(url: string, tenantKeys: readonly string[]): Promise<string[][]> {
  const tenancy = { mode: "column", column: "tenant_id" } as const;
  const source = openSource({ id: "bench", connectionString: url, tenancy, rules: [], maxConnections: 1 });
  try {
    const catalog = await source.connect((client) => readCatalog(client));
    const discovered = planScopes(catalog, tenancy, []);
    return tenantKeys.map((tenantKey) =>
      planBackup(catalog, discovered, { tenancy, tenantKey, tables: null }).tables.map(({ copy }) => copy),
    );
  } finally {
    await source.close();
  }
}
