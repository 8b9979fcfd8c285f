import { quoteName } from "../postgres/identifiers.ts";
import type { ComparedTable } from "./drift.ts";

/**
 * The temporary tables of one compared table. They live in the session's pg_temp (no WAL, nothing another session sees) and
 * vanish with the transaction. A row's values are `c1`, `c2`, … in the archive's order, so no column of a customer can clash
 * with ours.
 *
 * - `chosen`: the keys a request names, `k1`, `k2`, …
 * - `target`: rows of the archive
 * - `picked`: where the live rows are that may differ: row_table, row_id
 * - `live`: live rows of the tenant: row_table, row_id, row_xmin (together they name one version of one row)
 * - `before`: live rows that the plan deletes or updates: n, op, recreate, row_table, row_id, row_xmin
 * - `after`: rows that the plan inserts or updates: n (that of its `before` row; negative for inserts), op, recreate
 */
export type TempRole = "chosen" | "target" | "picked" | "live" | "before" | "after";

/** The temporary table as SQL. */
export function temp(compared: ComparedTable, role: TempRole): string {
  return `pg_temp.${quoteName(`rowback_${compared.table.oid}_${role}`)}`;
}

/** `CREATE TEMPORARY TABLE …` up to its AS or column list. */
export function createTemp(compared: ComparedTable, role: TempRole): string {
  return `CREATE TEMPORARY TABLE ${quoteName(`rowback_${compared.table.oid}_${role}`)}`;
}

/** `c1` for position 0. */
export function slot(position: number): string {
  return `c${position + 1}`;
}

/** `alias.c1, alias.c2, …`: a row's values. */
export function slots(compared: ComparedTable, alias: string): string {
  return compared.columns.map((_, at) => `${alias}.${slot(at)}`).join(", ");
}

/**
 * The row as one text: NULL and the empty string differ, and every type has one, also those without an equality operator.
 * "C" makes comparing it a comparison of bytes.
 */
export function rowText(compared: ComparedTable, alias: string): string {
  return `ROW(${slots(compared, alias)})::text COLLATE "C"`;
}

/** That two rows have the same key, by the operators that the key's index uses. */
export function sameKey(compared: ComparedTable, key: readonly number[], left: string, right: string): string {
  return key.map((at) => `${left}.${slot(at)} ${equalityOf(compared, at)} ${right}.${slot(at)}`).join(" AND ");
}

/** The key column's own equality; a bare `=` would find text's for citext (see CatalogColumn.equality). */
export function equalityOf(compared: ComparedTable, at: number): string {
  return compared.columns[at]?.equality ?? "OPERATOR(pg_catalog.=)";
}

/**
 * `before` or `after` as a subquery whose columns have the live table's names, so that index expressions and predicates can be
 * read over it. Generated columns are computed; added ones are NULL, because what they will be is only known when they are written.
 * Our own columns have names with a space: "rowback n", "rowback op", "rowback recreate".
 */
export function images(compared: ComparedTable, role: "before" | "after"): string {
  const ours = `s.n AS "rowback n", s.op AS "rowback op", s.recreate AS "rowback recreate"`;
  const stored = compared.columns.map((column, at) => `s.${slot(at)} AS ${quoteName(column.name)}`);
  const added = compared.added.map((column) => `NULL::${column.type} AS ${quoteName(column.name)}`);
  const generated = compared.table.columns
    .filter((column) => column.generated !== null && column.default !== null)
    .map((column) => `(${column.default}) AS ${quoteName(column.name)}`);
  const rows = `SELECT ${[ours, ...stored, ...added].join(", ")} FROM ${temp(compared, role)} AS s`;
  return generated.length === 0 ? `(${rows})` : `(SELECT r.*, ${generated.join(", ")} FROM (${rows}) AS r)`;
}
