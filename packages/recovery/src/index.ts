// What the worker drives: the verbs, and the source they work on. Pure planners are in plans.ts.

export { deleteBackup } from "./backup/delete.ts";
export { type BackupOutcome, type BackupRequest, backupTenant } from "./backup/run.ts";
export { collectGarbage, type SweepOptions, type SweepOutcome } from "./backup/sweep.ts";
export { type VerifyOutcome, verifyBackup } from "./backup/verify.ts";
export { CatalogCache, findTable, readCatalog } from "./postgres/catalog.ts";
export type { Catalog, CatalogTable } from "./postgres/catalog-types.ts";
export { openSource, type Source, type SourceClient } from "./postgres/source.ts";
export { toRecoveryError } from "./postgres/source-error.ts";
export { applyRestore } from "./restore/apply.ts";
export { previewRestore } from "./restore/preview.ts";
export type { Clock, Log, Progress, TableProgress, VerbContext } from "./verb-context.ts";
