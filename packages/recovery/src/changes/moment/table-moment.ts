import type { ManifestColumn, ManifestTable } from "../../archive/manifest.ts";
import { RecoveryError } from "../../errors.ts";
import { UNKNOWN_FIELD } from "../log/change-lines.ts";
import type { Relation } from "../log/segment-index.ts";
import { isoOfMicros } from "./micros.ts";
import { changesOf, type TableChanges } from "./moment-log.ts";
import { columnsAt, keyAt, mapRows, type RowMapper, type SourceColumn, sameColumn } from "./schema-map.ts";

/** One table of a moment, and how it comes of the base and the log. */
export interface TableMoment {
  /** `schema.table` */
  readonly label: string;
  readonly base: ManifestTable | null;
  readonly table: ManifestTable["table"];
  readonly scope: ManifestTable["scope"];
  /** Of the moment. */
  readonly columns: readonly ManifestColumn[];
  /** By name, of the moment; null: rows are a multiset. */
  readonly key: readonly string[] | null;
  /** Positions of the columns by which changes are held; null: by whole rows. */
  readonly heldBy: readonly number[] | null;
  /** Rows of other tables are the tenant's because they refer to rows of this one. */
  readonly isReferredTo: boolean;
  readonly passes: number;
  /** Keys of rows that changed their key and lean on values of the row before: all of the first pass. */
  readonly linked: ReadonlySet<string>;
  /** Rows of the base over the moment's columns. */
  readonly mapBase: RowMapper;
  /** Rows of a line over the moment's columns. */
  readonly mapLine: (relation: Relation) => RowMapper;
}

/** What a first look at a table's changes finds. */
interface Sighting {
  /** The definitions of rows that changed before the moment. */
  readonly relations: ReadonlySet<Relation>;
  /** The last definition before the moment; null: the log does not tell. */
  readonly last: Relation | null;
  /** The table has this one from some place on between the two, and the moment lies there, too. */
  readonly unsure: { readonly relation: Relation; readonly since: bigint; readonly by: bigint } | null;
}

/**
 * Looks through a table's changes and decides how they are folded; null when none of them belongs to the moment.
 * @param mostHeldBytes of lines that may be held at once; more of them take several passes
 * @throws RecoveryError `schema_drift`, `moment_unreachable` (its columns changed about then), `change_log_damaged`, `store_*`
 */
export async function planTable(
  log: TableChanges,
  { base, label, isReferredTo }: Pick<TableMoment, "base" | "label" | "isReferredTo">,
  mostHeldBytes: number,
): Promise<TableMoment | null> {
  const seen = await sight(log, label);
  const { last, unsure } = seen;
  const before = last?.columns ?? base?.columns;
  if (unsure !== null && before !== undefined && !sameDefinition(before, unsure.relation.columns))
    refuse(label, unsure);
  if (last === null || (seen.relations.size === 0 && (base === null || sameDefinition(base.columns, last.columns))))
    return null;
  const columns = columnsAt(base, last);
  const target = columns.map((column, at) => ({ ...column, missing: last.columns[at]?.missing ?? null }));
  const mappers = new Map<Relation, RowMapper>();
  for (const relation of seen.relations) mappers.set(relation, mapRows(last.table, relation.columns, target));
  const moment = {
    label,
    base,
    isReferredTo,
    table: last.table,
    scope: base?.scope ?? last.scope,
    columns,
    key: base === null ? keyOfRelation(last) : keyAt(base, columns),
    heldBy: heldBy(label, seen.relations, columns),
    passes: Math.max(1, Math.ceil(log.rawBytes(label) / mostHeldBytes)),
    mapBase: base === null ? null : mapRows(last.table, base.columns, target),
    mapLine: (relation: Relation) => mappers.get(relation) ?? null,
  };
  const { heldBy: key, passes } = moment;
  const linked = key === null || passes === 1 ? new Set<string>() : await linkedKeys(log, label, key, moment.mapLine);
  return { ...moment, linked };
}

async function sight(log: TableChanges, label: string): Promise<Sighting> {
  const relations = new Set<Relation>();
  let last: Relation | null = null;
  let unsure: Sighting["unsure"] = null;
  for await (const batch of log.lines(label)) {
    for (const { change, relation, included } of batch) {
      const { op, transaction, row } = change;
      if (included) {
        if (op !== "altered") relations.add(relation);
        last = relation;
      } else unsure ??= { relation, since: BigInt(row[1] ?? ""), by: transaction.at };
    }
  }
  return { relations, last, unsure };
}

function sameDefinition(a: readonly SourceColumn[], b: readonly SourceColumn[]): boolean {
  return (
    a.length === b.length &&
    a.every((column, at) => {
      const other = b[at];
      return (
        other !== undefined && sameColumn(column, other) && column.name === other.name && column.type === other.type
      );
    })
  );
}

function refuse(label: string, { since, by }: NonNullable<Sighting["unsure"]>): never {
  const [from, to] = [isoOfMicros(since), isoOfMicros(by)];
  throw new RecoveryError(
    "moment_unreachable",
    `The columns of ${label} changed between ${from} and ${to}, and the log can't tell on which side of that this moment lies.`,
    { table: label, hint: `Choose a moment up to ${from}, or one from ${to} on.` },
  );
}

/** Old rows come in full, or by a key that has to be the same all along (a changed identity is a declared gap). */
function heldBy(
  label: string,
  relations: ReadonlySet<Relation>,
  columns: readonly ManifestColumn[],
): readonly number[] | null {
  const keys = new Map<string, readonly number[]>();
  for (const { identity, columns: logged } of relations) {
    if (identity !== "key") continue;
    const positions = logged
      .filter(({ key }) => key)
      .map((column) => columns.findIndex((candidate) => sameColumn(candidate, column)))
      .toSorted((a, b) => a - b);
    keys.set(positions.join(), positions);
  }
  if (keys.size === 0) return null;
  const [key = []] = keys.values();
  if (keys.size === 1 && key.length > 0 && !key.includes(-1)) return key;
  throw new RecoveryError("schema_drift", `The replica identity of ${label} changed before this moment.`, {
    table: label,
    hint: "Restore to a moment before the change, or after the next full backup.",
  });
}

function keyOfRelation({ identity, columns }: Relation): string[] | null {
  return identity === "key" ? columns.filter(({ key }) => key).map(({ name }) => name) : null;
}

async function linkedKeys(
  log: TableChanges,
  label: string,
  key: readonly number[],
  mapLine: (relation: Relation) => RowMapper,
): Promise<Set<string>> {
  const linked = new Set<string>();
  for await (const batch of changesOf(log, label)) {
    for (const { change, relation, shared } of batch) {
      if (change.op !== "update" || change.old === null || !(shared || change.row.includes(UNKNOWN_FIELD))) continue;
      const map = mapLine(relation) ?? ((fields: readonly string[]) => fields);
      const [before, after] = [map(change.old), map(change.row)].map((row) => key.map((at) => row[at]).join("\t"));
      if (before === undefined || after === undefined || before === after) continue;
      linked.add(before).add(after);
    }
  }
  return linked;
}
