import type { PlannedTable } from "./plan.ts";

/** What is expected to be less than this goes together with others: about what a socket carries in the time of some round trips. */
const BATCH_BYTES = 1_048_576;

/**
 * Deals tables into batches, each for one round trip on one connection: large tables alone and first, so that several connections
 * end together; small ones together. Sizes are guessed: a tenant's share of a table is taken to be the average tenant's. A tenant far
 * above the average is then read by fewer connections than it could be; everything else stays the same. Pure.
 */
export function dealBatches(tables: readonly PlannedTable[], tenants: number): PlannedTable[][] {
  const share = (table: PlannedTable): number => table.source.bytes / Math.max(tenants, 1);
  const batches: PlannedTable[][] = [];
  let open: PlannedTable[] = [];
  let openBytes = 0;
  for (const table of tables.toSorted((a, b) => share(b) - share(a))) {
    if (open.length > 0 && openBytes + share(table) > BATCH_BYTES) {
      batches.push(open);
      open = [];
      openBytes = 0;
    }
    open.push(table);
    openBytes += share(table);
  }
  return open.length === 0 ? batches : [...batches, open];
}
