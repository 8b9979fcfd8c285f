import { z } from "zod";
import { Fingerprint } from "../archive/manifest.ts";

const Count = z.int().nonnegative();
const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** `schema.table` */
const TableLabel = z.string().min(1);

/** `exact`: the tenant as it was. `missing_only`: bring back rows that are gone, keep whatever is there now. */
export const RestoreMode = z.enum(["exact", "missing_only"]);
export type RestoreMode = z.infer<typeof RestoreMode>;

/** Whether the customer's own triggers see the restore. */
export const TriggersMode = z.enum(["suppress", "fire"]);
export type TriggersMode = z.infer<typeof TriggersMode>;

/** Chosen rows of one table; each key is the texts of the key's columns, in key order. */
export const RestoreKeys = z.object({
  table: TableLabel,
  keys: z.array(z.array(z.string()).min(1)).min(1),
});
export type RestoreKeys = z.infer<typeof RestoreKeys>;

export const RestoreRequest = z.object({
  tenantId: z.uuid(),
  /** The value that scopes the tenant's rows in the source. */
  tenantKey: z.string(),
  backupId: z.uuid(),
  /** What the backup's run wrote, from the control database: a manifest that is valid but another one is refused. */
  manifestSha256: Sha256.nullish(),
  mode: RestoreMode,
  /** Null: every table of the backup, unless `keys` names some. */
  tables: z.array(TableLabel).nullable(),
  /** Tables named here are limited to the chosen rows. */
  keys: z.array(RestoreKeys).nullable(),
  triggers: TriggersMode,
});
export type RestoreRequest = z.infer<typeof RestoreRequest>;

/** The tables that a request names; null: it is of all of them. */
export function namedTables({ tables, keys }: Pick<RestoreRequest, "tables" | "keys">): string[] | null {
  return tables === null && keys === null ? null : [...(tables ?? []), ...(keys ?? []).map(({ table }) => table)];
}

/** What the caller has seen; an apply whose world differs changes nothing and fails with `plan_stale`. */
export const RestoreExpectation = z.union([
  z.object({ planDigest: Sha256 }),
  /** By `schema.table`: the live tenant rows must have these fingerprints before anything is applied (an undo). */
  z.object({ fingerprints: z.record(TableLabel, Fingerprint) }),
]);
export type RestoreExpectation = z.infer<typeof RestoreExpectation>;

export const RowOperation = z.enum(["insert", "update", "delete"]);
export type RowOperation = z.infer<typeof RowOperation>;

/** A row's values as PostgreSQL prints them, by column; long ones are cut and end in `…`. */
const RowImage = z.record(z.string(), z.string().nullable());

export const RowSample = z.object({
  op: RowOperation,
  /** Null for tables without a key. */
  key: RowImage.nullable(),
  before: RowImage.nullable(),
  after: RowImage.nullable(),
  /** The columns whose text differs; empty for inserts and deletes. */
  changed: z.array(z.string()),
});
export type RowSample = z.infer<typeof RowSample>;

export const PlannedTrigger = z.object({ name: z.string(), timing: z.string() });
export type PlannedTrigger = z.infer<typeof PlannedTrigger>;

export const TablePlan = z.object({
  table: TableLabel,
  insert: Count,
  update: Count,
  delete: Count,
  /** Live rows of the tenant that stay as they are. */
  unchanged: Count,
  /** At most 20 of each operation. */
  samples: z.array(RowSample),
  /** The customer's triggers that this restore would fire on this table. */
  triggers: z.array(PlannedTrigger),
});
export type TablePlan = z.infer<typeof TablePlan>;

/** What the server (or, with triggers suppressed, our own check) would refuse. Never says whose the other rows are. */
export const PlanConflict = z.object({
  kind: z.enum(["foreign_key", "unique", "exclusion"]),
  table: TableLabel,
  constraint: z.string(),
  /** Rows of this tenant that stand in the way of the plan. */
  rows: Count,
  message: z.string(),
});
export type PlanConflict = z.infer<typeof PlanConflict>;

export const DriftKind = z.enum([
  "table_missing",
  "table_added",
  "column_added",
  "column_dropped",
  "column_retyped",
  "column_generated",
  "key_changed",
  "scope_changed",
]);
export type DriftKind = z.infer<typeof DriftKind>;

/** One way in which the live schema is no longer the backup's. */
export const SchemaDrift = z.object({
  table: TableLabel,
  kind: DriftKind,
  column: z.string().nullable(),
  message: z.string(),
  /** True: the restore is refused with `schema_drift`. */
  blocking: z.boolean(),
});
export type SchemaDrift = z.infer<typeof SchemaDrift>;

/** The row-level difference between now and the target: what a preview shows and an apply executes. */
export const RestorePlan = z.object({
  /** The same data, schema and wishes give the same digest on any machine (digest.ts). */
  digest: Sha256,
  backupId: z.uuid(),
  mode: RestoreMode,
  /** In the order of the work; every table that was compared, changed or not. */
  tables: z.array(TablePlan),
  conflicts: z.array(PlanConflict),
  drift: z.array(SchemaDrift),
  /** What will really happen: `suppress` needs a privilege that the source's role may lack. */
  triggersMode: TriggersMode,
  warnings: z.array(z.string()),
});
export type RestorePlan = z.infer<typeof RestorePlan>;

export const RestoredTable = z.object({ table: TableLabel, inserted: Count, updated: Count, deleted: Count });
export type RestoredTable = z.infer<typeof RestoredTable>;

export const RestoreOutcome = z.object({
  planDigest: Sha256,
  /** Only the tables that were changed. */
  tables: z.array(RestoredTable),
  /** Of the changed tables, over all stored columns of the live table, before and after. */
  fingerprintsBefore: z.record(TableLabel, Fingerprint),
  fingerprintsAfter: z.record(TableLabel, Fingerprint),
  warnings: z.array(z.string()),
});
export type RestoreOutcome = z.infer<typeof RestoreOutcome>;

/** The tables that a plan would change, as `schema.table`: what the pre-restore backup has to hold. */
export function changedTables(plan: Pick<RestorePlan, "tables">): string[] {
  return plan.tables.filter((table) => table.insert + table.update + table.delete > 0).map((table) => table.table);
}
