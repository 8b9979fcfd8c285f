import { z } from "zod";
import { ScopeRule, TableName } from "./tenancy.ts";

/** Something an operator should know about a source. `error` makes a run fail, `warning` does not. */
export const Finding = z.object({
  severity: z.enum(["error", "warning", "info"]),
  code: z.string(),
  table: TableName.nullable(),
  message: z.string(),
  /** One imperative sentence; with the SQL to run where SQL helps. */
  hint: z.string(),
});
export type Finding = z.infer<typeof Finding>;

/** Why no scope could be given to a table; a backup refuses it (`table_unprotected`) until a rule settles it. */
export const UnprotectedReason = z.object({
  code: z.enum([
    "ambiguous_path",
    "parent_unprotected",
    "rule_stale",
    "tenant_column_nullable",
    "tenant_column_incompatible",
    "tenant_like_column",
    "owned_by_reference",
    "foreign_table",
  ]),
  message: z.string(),
  hint: z.string(),
  /** The rules that would settle it, ready to be stored. */
  choices: z.array(ScopeRule),
});
export type UnprotectedReason = z.infer<typeof UnprotectedReason>;
