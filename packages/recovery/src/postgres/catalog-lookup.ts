import type { Catalog, CatalogTable } from "./catalog-types.ts";
import type { TableName } from "./tenancy.ts";

const INDEXES = new WeakMap<Catalog, ReadonlyMap<string, CatalogTable>>();

/** The table of that name, or undefined. */
export function findTable(catalog: Catalog, table: TableName): CatalogTable | undefined {
  let index = INDEXES.get(catalog);
  if (index === undefined) {
    index = new Map(catalog.tables.map((candidate) => [tableKey(candidate.table), candidate]));
    INDEXES.set(catalog, index);
  }
  return index.get(tableKey(table));
}

/** Unlike a label, unambiguous when names hold dots: `a.b`.`c` is not `a`.`b.c`. */
export function tableKey(table: TableName): string {
  return JSON.stringify([table.schema, table.name]);
}

/** Whether both are the same table. */
export function sameTable(a: TableName, b: TableName): boolean {
  return a.schema === b.schema && a.name === b.name;
}
