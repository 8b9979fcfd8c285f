import type { TableName } from "../../postgres/tenancy.ts";
import { NULL_FIELD } from "../log/change-lines.ts";
import { wholeRows } from "./fold-table.ts";
import { keyOfText } from "./keyed-changes.ts";
import { damagedLog } from "./row-change.ts";
import type { TableMoment } from "./table-moment.ts";

type Column = { readonly name: string; readonly type: string };

/** A table's rows at the moment; null: the moment does not have it. */
export type ReadParent = (
  table: TableName,
) => { readonly columns: readonly Column[]; readonly rows: AsyncIterable<Buffer> } | null;

/**
 * Which rows of a `via` table are the tenant's: those that refer to a row that the tenant has at the moment. Between two transactions every
 * reference holds, so it does not matter whose the row was in between. One pass over the parent.
 *
 * @throws RecoveryError `change_log_damaged` where the moment does not have the parent
 */
export async function claimRows(
  { label, scope, columns }: TableMoment,
  rows: readonly string[],
  readParent: ReadParent,
): Promise<boolean[]> {
  if (scope.kind !== "via") throw damagedLog(label, "a row came in that nobody knows the tenant of");
  const [step] = scope.path;
  const parent = step === undefined ? null : readParent(step.to);
  if (step === undefined || parent === null) throw damagedLog(label, "the rows it refers to are not in the backup");
  const from = positionsOf(label, columns, step.columns);
  const to = positionsOf(label, parent.columns, step.referenced);
  const loose = from.map((at, n) => isLoose(columns[at]) || isLoose(parent.columns[to[n] ?? -1]));
  const references = rows.map((row) => reference(row, from, loose));
  const wanted = new Set(references);
  const found = new Set<string>();
  for await (const chunk of wholeRows(parent.rows)) {
    for (let start = 0; start < chunk.length; ) {
      const end = chunk.indexOf(0x0a, start);
      const key = reference(chunk.toString("latin1", start, end), to, loose);
      if (key !== null && wanted.has(key)) found.add(key);
      start = end + 1;
    }
  }
  return references.map((key) => key !== null && found.has(key));
}

function positionsOf(label: string, columns: readonly Column[], names: readonly string[]): number[] {
  const positions = names.map((name) => columns.findIndex((column) => column.name === name));
  if (positions.includes(-1)) throw damagedLog(label, "a column of the reference to its tenant is missing");
  return positions;
}

/** What a row refers to, as text that is equal where the values are; null: nothing. */
function reference(row: string, positions: readonly number[], loose: readonly boolean[]): string | null {
  const values = positions.map((at) => keyOfText(row, [at]));
  if (values.includes(NULL_FIELD)) return null;
  return values.map((value, at) => (loose[at] === true ? canonical(value) : value)).join("\t");
}

/** Types in which equal values may print differently. */
function isLoose(column: Column | undefined): boolean {
  return /^numeric|citext$/.test(column?.type ?? "");
}

/** 1.50 and 1.5, A and a: equal for numeric, and for citext. */
function canonical(value: string): string {
  const trimmed = /^-?\d+\.\d+$/.test(value) ? value.replace(/\.?0+$/, "") : value;
  return trimmed.toLowerCase();
}
