export { type AuditVerification, verifyAuditLog } from "./audit-verification.ts";
export { type CommandLineAuthor, commandLineAuthor } from "./command-line.ts";
export {
  type ControlDatabase,
  type ControlDatabaseOptions,
  openControlDatabase,
  type Queryable,
  type Statement,
} from "./control-database.ts";
export { type MigrateOptions, migrate } from "./migrate.ts";
export { InvalidCursorError, type Page, type PageRequest } from "./page.ts";
export type { Json } from "./rows.ts";
export { hasEnded, RUN_EVENTS, RUN_STATES, RUN_TRANSITIONS, type RunEvent, type RunState } from "./run-states.ts";
export { openSecret, SealedSecretError, sealSecret } from "./sealed-secret.ts";
export {
  type ApiKey,
  findLiveApiKey,
  getApiKey,
  insertApiKey,
  type LiveApiKey,
  listApiKeys,
  recordApiKeyUse,
  revokeApiKey,
} from "./tables/api-keys.ts";
export {
  type AuditEntry,
  type AuditFilter,
  insertAuditEntry,
  listAuditEntries,
  type NewAuditEntry,
  WORKER_USER,
} from "./tables/audit-log.ts";
export {
  beginPurge,
  listPurgeable,
  markPurged,
  type PurgeableBackup,
  type SoftDeleteResult,
  softDeleteBackup,
  softDeleteChain,
  type UndeleteResult,
  undeleteBackup,
} from "./tables/backup-deletion.ts";
export {
  BACKUP_ORIGINS,
  BACKUP_PURPOSES,
  BACKUP_TYPES,
  Backup,
  type BackupOrigin,
  type BackupPurpose,
  type BackupType,
  type TableStats,
} from "./tables/backup-row.ts";
export {
  type BackupFilter,
  type BackupOutcomeRow,
  getBackup,
  insertBackupRun,
  lastStoredBytes,
  listBackups,
  listChain,
  type NewBackup,
  storedBytes,
  succeedBackupRun,
} from "./tables/backups.ts";
export {
  beginEpoch,
  CaptureEpoch,
  type CaptureLease,
  CaptureProblem,
  CaptureState,
  endEpoch,
  getCaptureState,
  getCaptureStatus,
  listEpochs,
  listUncaptured,
  markRebased,
  type NewCapture,
  type NewEpoch,
  observeSlot,
  releaseCapture,
  renewCapture,
  setCaptureProblem,
  takeCapture,
  turnCaptureOff,
  turnCaptureOn,
} from "./tables/capture-states.ts";
export { getRememberedTables, type RememberedTables, rememberTables } from "./tables/captured-tables.ts";
export {
  ChangeGap,
  closeUnpublishedGaps,
  GAP_REASONS,
  type GapReason,
  insertGaps,
  listGaps,
  type NewChangeGap,
} from "./tables/change-gaps.ts";
export {
  ChangeSegment,
  listSegments,
  type NewChangeSegment,
  type SegmentFilter,
  tenantHash,
} from "./tables/change-segments.ts";
export { CommitIntent, clearCommitIntent, getCommitIntent, recordCommitIntent } from "./tables/commit-intents.ts";
export {
  countStoredBackups,
  type Erasure,
  finishErasure,
  getErasure,
  hasLiveRuns,
  insertErasure,
  lastPurge,
  markTenantErased,
} from "./tables/erasures.ts";
export { claimFairRuns, type FairClaim, hasDueRuns, type RingPlace } from "./tables/fair-claims.ts";
export { findKeyedRun, type InsertRunResult, type NewRun } from "./tables/insert-run.ts";
export {
  listMembers,
  listMemberships,
  MEMBER_ROLES,
  type Member,
  type MemberRole,
  type Membership,
  removeMember,
  setMember,
} from "./tables/members.ts";
export { getMomentBase, listMomentBases, MomentBase, newestParent } from "./tables/moment-bases.ts";
export { addOperator, isOperator } from "./tables/operators.ts";
export {
  type DiscoveredTableRow,
  listProtectedTables,
  type ProtectedTable,
  replaceProtectedTables,
} from "./tables/protected-tables.ts";
export {
  type Covered,
  forgetRetired,
  listRetired,
  publishSegments,
  replaceSegments,
} from "./tables/publish-segments.ts";
export { type Decision, type DecisionResult, decideRestore, expireRestores } from "./tables/restore-approvals.ts";
export {
  getRestorePoint,
  insertRestorePointRun,
  listRestorePoints,
  RestorePoint,
  succeedRestorePointRun,
} from "./tables/restore-points.ts";
export {
  type ChosenKeys,
  getRestore,
  getUndoOf,
  insertRestoreRun,
  listRestores,
  type NewRestore,
  type Restore,
  type RestoreFilter,
  type RestoreMode,
  RestoreMoment,
  type RestoreOutcomeRow,
  recordPreRestoreBackup,
  succeedRestoreRun,
} from "./tables/restores.ts";
export {
  cancelRun,
  claimRun,
  failRun,
  type HeldLease,
  listCancelRequested,
  postponeRun,
  type Requeued,
  recordProgress,
  releaseRun,
  renewLeases,
  requeueRun,
  succeedRun,
} from "./tables/run-claims.ts";
export { ClaimedRun, RUN_COLUMNS, RUN_KINDS, Run, type RunClaim, RunError, type RunKind } from "./tables/run-row.ts";
export {
  type EnqueueableRun,
  type ExpiredLease,
  listEnqueueable,
  listExpiredLeases,
  type TakenBackRun,
  takeBackExpiredRuns,
} from "./tables/run-sweep.ts";
export {
  countRecentRuns,
  getRun,
  getRuns,
  insertRun,
  lastDiscovery,
  listRuns,
  type RequestCancelResult,
  type RunFilter,
  requestCancel,
} from "./tables/runs.ts";
export {
  deleteSource,
  getSource,
  getSourceConnection,
  insertSource,
  listSources,
  type NewSource,
  type Source,
  type SourceChange,
  type SourceConnection,
  updateSource,
} from "./tables/sources.ts";
export {
  countKeysByMasterKey,
  destroyTenantKey,
  getTenantKey,
  insertTenantKey,
  listKeysToRewrap,
  noteRotation,
  rewrapTenantKey,
  TenantKey,
  type TenantKeyOwner,
} from "./tables/tenant-keys.ts";
export {
  DEFAULT_TENANT_SETTINGS,
  getTenantSettings,
  type TenantRulesChange,
  type TenantSettings,
  type TenantSettingsChange,
  updateTenantRules,
  updateTenantSettings,
} from "./tables/tenant-settings.ts";
export { getTenant, getTenantByKey, insertTenant, listTenants, type NewTenant, type Tenant } from "./tables/tenants.ts";
export {
  type BreakerReport,
  listBreakerReports,
  ReportedBreaker,
  reportBreakers,
  withdrawBreakers,
} from "./tables/worker-breakers.ts";
export { type SystemClient, type TenantClient, withSystem, withTenant } from "./tenant-context.ts";
