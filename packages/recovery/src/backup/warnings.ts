import type { Finding } from "../postgres/finding.ts";
import { type TableName, tableLabel } from "../postgres/tenancy.ts";

/** More names than this make a warning that nobody reads; the source's discovery has them all. */
const MOST_NAMES = 100;

/**
 * What a backup that went well may lack all the same, one sentence each: tables that were taken for nobody's (in one
 * sentence, as an ordinary product has dozens), rows that no tenant owns, sequences the role may not read. Pure.
 */
export function backupWarnings(findings: readonly Finding[], unreadableSequences: readonly TableName[]): string[] {
  const shared = findings.filter((finding) => finding.code === "assumed_shared").flatMap(({ table }) => table ?? []);
  const others = findings.filter((finding) => finding.code !== "assumed_shared");
  return [
    ...(shared.length === 0
      ? []
      : [
          `Taken for nobody's, and not in this backup: ${names(shared)}. Add a rule for each to the source: shared if that is right, direct or via if it holds tenants' rows.`,
        ]),
    ...others.map(({ table, message }) => (table === null ? message : `${tableLabel(table)}: ${message}`)),
    ...(unreadableSequences.length === 0
      ? []
      : [
          `The role may not read these sequences, so their values are not in this backup: ${names(unreadableSequences)}. Run GRANT SELECT ON SEQUENCE for each.`,
        ]),
  ];
}

function names(tables: readonly TableName[]): string {
  const labels = tables.map(tableLabel).toSorted();
  const more = labels.length - MOST_NAMES;
  return labels.slice(0, MOST_NAMES).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
