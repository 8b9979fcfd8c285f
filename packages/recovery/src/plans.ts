/** What the API may use: shapes, and functions of them that reach no database, no store and no socket. */
export { captureInClear } from "./changes/capture/capture-in-clear.ts";

export { MomentLimit } from "./changes/moment/change-span.ts";
export { isoOfMicros } from "./changes/moment/micros.ts";
export { describeWindow, MomentTarget, type ResolvedMoment, resolveMoment } from "./changes/moment/target.ts";
export { gapsOf, type Reach, rangesOf, reachesOf, type WindowGap } from "./changes/moment/window.ts";
export { ErasureCertificate, erasureCertificate } from "./erasure/certificate.ts";
export { Finding, UnprotectedReason } from "./postgres/finding.ts";
export { ForeignKeyStep, ScopeRule, TableName, TableScope, Tenancy, tableLabel } from "./postgres/tenancy.ts";
export {
  changedTables,
  namedTables,
  RestoreExpectation,
  RestoreOutcome,
  RestorePlan,
  RestoreRequest,
} from "./restore/plan.ts";
