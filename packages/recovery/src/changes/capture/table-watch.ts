import { type TableName, tableLabel } from "../../postgres/tenancy.ts";
import type { CapturePlan } from "./capture-plan.ts";
import type { SeenTables } from "./capture-target.ts";
import { seeDdlTrigger } from "./ddl-trigger.ts";
import type { Gap } from "./gap.ts";
import { rememberMissing, wasRewritten } from "./published-tables.ts";
import type { Published } from "./read-published.ts";

/** What happened to the tables between two looks at the catalogue, as far as the stream does not tell it. */
export interface TableNews {
  readonly gaps: readonly Gap[];
  readonly seen: SeenTables;
}

/**
 * Compares the publication's tables with what was seen last. Pure.
 * @param before null: the first look of an epoch, whose bases are all younger than the slot
 * @param truncated oids of the tables that the stream truncated since
 */
export function compareTables(
  before: SeenTables | null,
  now: Published,
  plan: CapturePlan,
  truncated: ReadonlySet<number>,
): TableNews {
  const published = new Set(now.tables.map(({ table }) => tableLabel(table)));
  const unpublished = [...plan.values()].map(({ table }) => table).filter((table) => !published.has(tableLabel(table)));
  const known = new Map(before?.tables.map((table) => [table.oid, table]));
  const seen = {
    tables: now.tables.map((table) => rememberMissing(table, known.get(table.oid))),
    unpublished: unpublished.map(tableLabel),
    lsn: now.lsn,
    at: now.at,
    ddlTrigger: seeDdlTrigger(before?.ddlTrigger ?? null, now),
  };
  const since = before ?? seen;
  const gap = (reason: Gap["reason"], table: TableName, causeXid: bigint | null): Gap => ({
    reason,
    table,
    tenantKey: null,
    beginsLsn: since.lsn,
    beginsAt: since.at.toString(),
    causeXid: causeXid?.toString() ?? null,
  });
  const told = before?.ddlTrigger?.inForce === true && before.ddlTrigger.version === now.ddlTrigger;
  const rewritten = now.tables.filter((table) => {
    const old = known.get(table.oid);
    return old !== undefined && wasRewritten(old, table, truncated.has(table.oid), told);
  });
  const declared = new Set(before?.unpublished);
  const missing = unpublished.filter((table) => !declared.has(tableLabel(table)));
  return {
    seen,
    gaps: [
      ...rewritten.map(({ table }) => gap("table_rewritten", table, now.nextXid)),
      // Nothing but setting up the capture again ends it: a backup is followed by changes that are not logged.
      ...missing.map((table) => gap("table_not_published", table, null)),
    ],
  };
}
