import type { ManifestColumn, ManifestTable } from "../../archive/manifest.ts";
import { RecoveryError } from "../../errors.ts";
import { tableLabel } from "../../postgres/tenancy.ts";
import { keepsText } from "../../restore/drift.ts";
import { NULL_FIELD } from "../log/change-lines.ts";
import type { Relation } from "../log/segment-index.ts";

/** Rows of one definition over the columns of another; null: they are the same. */
export type RowMapper = ((fields: readonly string[]) => readonly string[]) | null;

/** `attnum` is missing in old backups, and null in the log where the catalogue could no longer be asked. */
export type SourceColumn = Pick<ManifestColumn, "name" | "type"> & { readonly attnum?: number | null | undefined };

/**
 * Maps rows to the columns of a later definition by attribute number, by name where the older one has none: a dropped column is left out, a
 * renamed one renamed, an added one has the value that the server gives older rows.
 *
 * @throws RecoveryError `schema_drift` for a column whose values may print differently now
 */
export function mapRows(
  table: ManifestTable["table"],
  from: readonly SourceColumn[],
  to: readonly (SourceColumn & { readonly missing?: string | null | undefined })[],
): RowMapper {
  const positions = to.map((column) => from.findIndex((candidate) => sameColumn(candidate, column)));
  for (const [at, position] of positions.entries()) refuseOtherText(table, from[position], to[at]);
  if (from.length === to.length && positions.every((position, at) => position === at)) return null;
  const values = to.map((column) => column.missing ?? NULL_FIELD);
  return (fields) => positions.map((position, at) => fields[position] ?? values[at] ?? NULL_FIELD);
}

/** The same column by its attribute number, by its name where one side has none. */
export function sameColumn(a: SourceColumn, b: SourceColumn): boolean {
  return a.attnum == null || b.attnum == null ? a.name === b.name : a.attnum === b.attnum;
}

function refuseOtherText(
  table: ManifestTable["table"],
  from: SourceColumn | undefined,
  to: SourceColumn | undefined,
): void {
  if (from === undefined || to === undefined || from.type === to.type || keepsText(from.type, to.type)) return;
  const label = tableLabel(table);
  throw new RecoveryError(
    "schema_drift",
    `${label}.${to.name} became ${to.type} from ${from.type} before this moment, and older rows may print differently now.`,
    { table: label, hint: "Restore to a moment before the change, or after the next full backup." },
  );
}

/** A table of the base as it was defined at the moment. `last`: the last definition the log has of it before the moment. */
export function columnsAt(base: ManifestTable | null, last: Relation): ManifestColumn[] {
  return last.columns.map(({ name, type, attnum }) => {
    const known = base?.columns.find((column) => sameColumn(column, { name, type, attnum }));
    const number = attnum ?? known?.attnum;
    return {
      name,
      type,
      notNull: known?.notNull ?? false,
      identity: known?.identity ?? null,
      ...(number === undefined ? {} : { attnum: number }),
    };
  });
}

/** The base's key by the names it had at the moment; null: a column of it is gone, or there was none. */
export function keyAt(base: ManifestTable, columns: readonly ManifestColumn[]): string[] | null {
  const names = (base.key ?? []).flatMap((name) => {
    const known = base.columns.find((column) => column.name === name);
    return columns.find((column) => known !== undefined && sameColumn(known, column))?.name ?? [];
  });
  return base.key === null || names.length < base.key.length ? null : names;
}
