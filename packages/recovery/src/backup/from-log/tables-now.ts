import { NO_ROWS } from "../../archive/fingerprint.ts";
import type { Manifest, ManifestTable } from "../../archive/manifest.ts";
import { RecoveryError } from "../../errors.ts";
import { tableLabel } from "../../postgres/tenancy.ts";
import type { BackupPlan, PlannedTable } from "../plan.ts";

/**
 * A table that is gone and one that is new may be one that was renamed, whose untouched rows no log speaks of: then only the source knows.
 * @throws RecoveryError `schema_drift` naming both
 */
export function requireSameTables(base: Manifest, moment: Manifest, { tables, catalog }: BackupPlan): void {
  const present = new Set(catalog.tables.map(({ table }) => tableLabel(table)));
  const known = new Set([...base.tables, ...moment.tables].map(({ table }) => tableLabel(table)));
  const gone = [...known].filter((label) => !present.has(label));
  const come = tables.map(({ source }) => tableLabel(source.table)).filter((label) => !known.has(label));
  if (gone.length === 0 || come.length === 0) return;
  throw new RecoveryError(
    "schema_drift",
    `Since the backup that this one would stand on, ${gone.join(", ")} went and ${come.join(", ")} came: whether rows came along can't be told from the change log.`,
    { table: come[0], hint: "Take a full backup." },
  );
}

/** The tables of a moment as the source has them now: without those that were dropped, and with those that have no row yet. */
export function tablesNow({ tables }: Manifest, { tables: planned }: BackupPlan): ManifestTable[] {
  const known = new Map(tables.map((entry) => [tableLabel(entry.table), entry]));
  return planned.map((table) => ({
    ...(known.get(tableLabel(table.source.table)) ?? {
      ...describeTable(table),
      rawBytes: 0,
      fingerprint: NO_ROWS,
    }),
    ranges: [],
  }));
}

/** A table as its catalogue has it. */
export function describeTable({
  source,
  scope,
  columns,
}: PlannedTable): Pick<ManifestTable, "table" | "scope" | "columns" | "key"> {
  return {
    table: source.table,
    scope,
    columns: columns.map(({ name, type, notNull, identity, attnum }) => ({ name, type, notNull, identity, attnum })),
    key: source.key === null ? null : [...source.key],
  };
}
