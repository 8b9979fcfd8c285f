/** What the API may use: shapes and planners without effects. */
export { type BackupPlan, type PlanRequest, planBackup } from "./backup/plan.ts";
export { DiscoveredTable, planScopes } from "./postgres/discovery.ts";
export { Finding, UnprotectedReason } from "./postgres/finding.ts";
export { preflight } from "./postgres/preflight.ts";
export { ForeignKeyStep, ScopeRule, TableName, TableScope, Tenancy, tableLabel } from "./postgres/tenancy.ts";
export { changedTables, RestoreExpectation, RestoreOutcome, RestorePlan, RestoreRequest } from "./restore/plan.ts";
