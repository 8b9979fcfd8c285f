import type { Catalog, CatalogTable } from "./catalog-types.ts";
import type { SourceClient } from "./source.ts";
import { type TableName, tableLabel } from "./tenancy.ts";

/** The last catalogue read of one source, reused while its stamp holds. */
export class CatalogCache {
  #catalog: Catalog | null = null;

  /** The cached catalogue when it has this stamp, else null. */
  get(stamp: string): Catalog | null {
    return this.#catalog?.stamp === stamp ? this.#catalog : null;
  }

  set(catalog: Catalog): void {
    this.#catalog = catalog;
  }
}

/**
 * The source's tables, keys, foreign keys and rights, as this session's snapshot sees them.
 * One round trip while the cache's stamp holds; a handful of queries otherwise, whatever the number of tables.
 * Errors of the driver pass through (`Source.connect` turns them into RecoveryError).
 */
export async function readCatalog(_client: SourceClient, _cache?: CatalogCache): Promise<Catalog> {
  throw new Error("not built yet");
}

/** The table of that name, or undefined. */
export function findTable(catalog: Catalog, table: TableName): CatalogTable | undefined {
  const label = tableLabel(table);
  return catalog.tables.find((candidate) => tableLabel(candidate.table) === label);
}
