import type { Catalog } from "./catalog-types.ts";
import type { SourceClient } from "./source.ts";
import type { TableName } from "./tenancy.ts";

/**
 * DDL of these tables and of the types, sequences and schemas they need: enough to create them in an empty database.
 * Read in a handful of queries, and kept with the catalogue: a second call for the same catalogue and tables costs nothing.
 */
export async function readDdl(
  _client: SourceClient,
  _catalog: Catalog,
  _tables: readonly TableName[],
): Promise<string> {
  throw new Error("not built yet");
}
