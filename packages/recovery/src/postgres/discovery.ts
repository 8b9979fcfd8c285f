import { z } from "zod";
import type { Catalog } from "./catalog-types.ts";
import { Finding } from "./finding.ts";
import { ScopeRule, TableName, TableScope, type Tenancy } from "./tenancy.ts";

/** Why no scope could be given to a table; a backup refuses it (`table_unprotected`) until a rule settles it. */
export const UnprotectedReason = z.object({
  code: z.enum([
    "ambiguous_path",
    "rule_stale",
    "tenant_column_nullable",
    "tenant_column_incompatible",
    "foreign_table",
    "outside_tenant_schemas",
  ]),
  message: z.string(),
  hint: z.string(),
  /** The rules that would settle it, ready to be stored. */
  choices: z.array(ScopeRule),
});
export type UnprotectedReason = z.infer<typeof UnprotectedReason>;

/** What discovery decided for one table. */
export const DiscoveredTable = z.union([
  z.object({ table: TableName, scope: TableScope, reason: z.null(), warnings: z.array(Finding) }),
  z.object({ table: TableName, scope: z.null(), reason: UnprotectedReason, warnings: z.array(Finding) }),
]);
export type DiscoveredTable = z.infer<typeof DiscoveredTable>;

/** Every table of the catalogue with its scope, or the reason it has none; in the catalogue's order. Pure. */
export function planScopes(_catalog: Catalog, _tenancy: Tenancy, _rules: readonly ScopeRule[]): DiscoveredTable[] {
  throw new Error("not built yet");
}
