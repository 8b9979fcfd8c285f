// The source
export { CatalogCache, findTable, readCatalog } from "./postgres/catalog.ts";
export type { Catalog, CatalogTable } from "./postgres/catalog-types.ts";
export { openSource, type Source, type SourceClient } from "./postgres/source.ts";
export { toRecoveryError } from "./postgres/source-error.ts";
export type { Clock, Log, Progress, TableProgress, VerbContext } from "./verb-context.ts";
