/** What the API may use: shapes, and functions of them that reach no database, no store and no socket. */
export { captureInClear } from "./changes/capture/capture-in-clear.ts";
export { ErasureCertificate, erasureCertificate } from "./erasure/certificate.ts";
export { Finding, UnprotectedReason } from "./postgres/finding.ts";
export { ForeignKeyStep, ScopeRule, TableName, TableScope, Tenancy, tableLabel } from "./postgres/tenancy.ts";
export { changedTables, RestoreExpectation, RestoreOutcome, RestorePlan, RestoreRequest } from "./restore/plan.ts";
