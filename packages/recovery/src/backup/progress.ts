import { tableLabel } from "../postgres/tenancy.ts";
import type { Progress, TableProgress } from "../verb-context.ts";
import type { CopyObserver } from "./copy-tables.ts";
import type { PlannedTable } from "./plan.ts";

/** Small tables cost a round trip too. */
const LEAST_WEIGHT = 8_192;

/**
 * Turns what `copyTables` sees into progress. A table's weight is its size in the source, all tenants together: the best guess
 * of this tenant's share that costs nothing.
 */
export function observeCopy(
  tables: readonly PlannedTable[],
  report: ((progress: Progress) => void) | undefined,
): CopyObserver {
  if (report === undefined) return { onTable: () => undefined };
  const seen = new Map<PlannedTable, TableProgress>(
    tables.map((table) => [table, { table: tableLabel(table.source.table), rows: 0, bytes: 0, done: false }]),
  );
  const total = tables.reduce((sum, table) => sum + weight(table), 0);
  return {
    onTable(table, { rows, bytes, done }) {
      seen.set(table, { table: tableLabel(table.source.table), rows, bytes, done });
      const reached = tables.reduce((sum, each) => sum + reachedOf(each, seen.get(each)), 0);
      report({ phase: "copy", share: total === 0 ? 1 : reached / total, tables: [...seen.values()] });
    },
  };
}

function reachedOf(table: PlannedTable, seen: TableProgress | undefined): number {
  if (seen?.done === true) return weight(table);
  return Math.min(seen?.bytes ?? 0, 0.95 * weight(table));
}

function weight(table: PlannedTable): number {
  return Math.max(table.source.bytes, LEAST_WEIGHT);
}
