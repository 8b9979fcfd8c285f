// What the worker drives: the verbs, and the source they work on. Shapes that the API needs too are in plans.ts.

export type { BackupArchive } from "./archive/backup-reader.ts";
export type { Compression } from "./archive/block.ts";
export type { KeyOwner, KeyRing } from "./archive/key-ring.ts";
export {
  type MasterKeys,
  newDataKey,
  parseMasterKeys,
  rewrapDataKey,
  unwrapDataKey,
  type WrappedDataKey,
} from "./archive/master-keys.ts";
export type { SealKey } from "./archive/sealed-block.ts";
export { deleteBackup } from "./backup/delete.ts";
export type { ChainContext, ChainLink } from "./backup/from-log/chain.ts";
export { openIncremental } from "./backup/from-log/open-incremental.ts";
export { backUpFromLog } from "./backup/from-log/run.ts";
export type { BackupOutcome } from "./backup/outcome.ts";
export { type BackupPlan, type PlanRequest, planBackup } from "./backup/plan.ts";
export { type BackupRequest, backupTenant } from "./backup/run.ts";
export { collectGarbage, type SweepOptions, type SweepOutcome } from "./backup/sweep.ts";
export { type VerifyOutcome, verifyBackup } from "./backup/verify.ts";
export { type CaptureContext, type CaptureRequest, captureChanges } from "./changes/capture/capture.ts";
export { captureNames } from "./changes/capture/capture-findings.ts";
export type { CaptureTarget, Covered, SeenTables } from "./changes/capture/capture-target.ts";
export { DdlTrigger, ddlTriggerStatement } from "./changes/capture/ddl-trigger.ts";
export { Gap, putGap } from "./changes/capture/gap.ts";
export { PublishedTable } from "./changes/capture/published-tables.ts";
export type { SegmentLimits } from "./changes/capture/segment-gatherer.ts";
export { type SetupContext, type SetupOutcome, setUpCapture, tearDownCapture } from "./changes/capture/setup.ts";
export { createSlot, dropSlot, freeSlot, readSlot, type SlotStart, type SlotState } from "./changes/capture/slot.ts";
export { type MergeRequest, mergeSegments } from "./changes/compaction/merge.ts";
export { planMerge } from "./changes/compaction/plan.ts";
export { readHistory } from "./changes/history/run.ts";
export type { WrittenSegment } from "./changes/log/segment-writer.ts";
export type { SegmentPlace } from "./changes/moment/moment-log.ts";
export { type MomentRequest, openMoment } from "./changes/moment/open-moment.ts";
export { writeRestorePoint } from "./changes/moment/restore-point.ts";
export { type PurgeOutcome, purgeTenant } from "./erasure/purge.ts";
export { CatalogCache, readCatalog } from "./postgres/catalog.ts";
export { findTable } from "./postgres/catalog-lookup.ts";
export type { Catalog, CatalogTable } from "./postgres/catalog-types.ts";
export { DiscoveredTable, planScopes } from "./postgres/discovery.ts";
export { preflight } from "./postgres/preflight.ts";
export { openSource, type Source, type SourceClient } from "./postgres/source.ts";
export { toRecoveryError } from "./postgres/source-error.ts";
export { applyRestore } from "./restore/apply.ts";
export { type CommitMark, settleTransaction, type TransactionFate } from "./restore/commit-mark.ts";
export type { OpenTarget } from "./restore/prepare.ts";
export { previewRestore } from "./restore/preview.ts";
export type { Clock, Log, Progress, TableProgress, VerbContext } from "./verb-context.ts";
