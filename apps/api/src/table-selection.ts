import { z } from "zod";
import { plainText } from "./plain-text.ts";
import { type FieldError, FieldErrors } from "./problem.ts";

/** A backup or restore of more named tables than this is one of all tables. */
const MAX_TABLES = 50;
/** Two identifiers of 63 bytes, a dot, and room for those who count in characters. */
const MAX_NAME_LENGTH = 130;

/** `table` or `schema.table`, unquoted. */
export const TableNames = z.array(plainText(MAX_NAME_LENGTH)).min(1).max(MAX_TABLES).meta({
  description: "Names of protected tables, `table` or `schema.table`, unquoted, case kept; left out: all of them.",
});

/** What the last discovery, or a backup, knows of one table. */
export interface KnownTable {
  readonly schema: string;
  readonly name: string;
  /** Why it can't be chosen; null when it can. */
  readonly obstacle: string | null;
}

/** What an unquoted name may look like; anything else can only be meant if it is exactly a known table's name. */
const ORDINARY_NAME = /^[\p{L}_][\p{L}\p{N}_$]*(\.[\p{L}_][\p{L}\p{N}_$]*)?$/u;

/**
 * The labels (`schema.table`) of the tables that were named (AUDIT A1). Nothing of a request ever reaches SQL: what is
 * returned are the catalogue's own names.
 * @param field where the names stand in the request, for the error: `tables`
 * Throws `unknown_table`, or `invalid_request` for what can't be a table's name, with one entry per wrong name.
 */
export function selectTables(names: readonly string[], known: readonly KnownTable[], field = "tables"): string[] {
  const byName = indexByName(known);
  const chosen = new Set<string>();
  const errors: (FieldError & { malformed: boolean })[] = [];
  names.forEach((name, position) => {
    const path = `${field}[${position}]`;
    const matches = byName.get(name) ?? [];
    const [table, another] = matches;
    if (table === undefined) {
      const malformed = !ORDINARY_NAME.test(name);
      errors.push({ path, malformed, message: malformed ? "is not a table's name" : "is not a table of the source" });
    } else if (another !== undefined) {
      const choices = matches.map(({ schema }) => schema).join(", ");
      errors.push({ path, malformed: false, message: `is in several schemas (${choices}): write schema.table` });
    } else if (table.obstacle !== null) {
      errors.push({ path, malformed: false, message: `can't be chosen: ${table.obstacle}` });
    } else if (chosen.has(labelOf(table))) {
      errors.push({ path, malformed: true, message: "is named twice" });
    } else {
      chosen.add(labelOf(table));
    }
  });
  if (errors.length > 0) {
    throw new FieldErrors(
      errors.some(({ malformed }) => malformed) ? "invalid_request" : "unknown_table",
      errors.map(({ path, message }) => ({ path, message })),
      "GET /v1/backups/:id names the tables of a backup; an operator sees all at GET /v1/sources/:id/discovery.",
    );
  }
  return [...chosen];
}

function indexByName(known: readonly KnownTable[]): Map<string, KnownTable[]> {
  const byName = new Map<string, KnownTable[]>();
  for (const table of known) {
    for (const name of [table.name, labelOf(table)]) byName.set(name, [...(byName.get(name) ?? []), table]);
  }
  return byName;
}

function labelOf(table: KnownTable): string {
  return `${table.schema}.${table.name}`;
}
