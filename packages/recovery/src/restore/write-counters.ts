import { z } from "zod";
import { RecoveryError } from "../errors.ts";
import type { SourceClient } from "../postgres/source.ts";
import { tableLabel } from "../postgres/tenancy.ts";
import type { WriteCounts } from "./execute.ts";
import type { RestoreSession } from "./session.ts";
import { plannedTriggers } from "./triggers.ts";

const Counter = z.object({
  table: z.string(),
  inserted: z.coerce.number(),
  updated: z.coerce.number(),
  deleted: z.coerce.number(),
});
type Counter = z.infer<typeof Counter>;

/** By `schema.table` (of the partitioned table for its partitions): what the session has written so far. */
export type WriteCounters = ReadonlyMap<string, Counter>;

/**
 * The server's own count of the rows this session has written and not yet reported, per table. It includes what triggers and
 * foreign-key actions wrote, in any table and for any tenant, which no query over the tenant's rows could show.
 */
export async function readWriteCounters(client: SourceClient): Promise<WriteCounters> {
  const { rows } = await client.query(COUNTERS);
  return new Map(
    z
      .array(Counter)
      .parse(rows)
      .map((counter) => [counter.table, counter]),
  );
}

const COUNTERS = `
SELECT n.nspname || '.' || root.relname AS "table", sum(w.inserted) AS inserted, sum(w.updated) AS updated, sum(w.deleted) AS deleted
FROM (SELECT coalesce(pg_partition_root(c.oid), c.oid) AS oid,
             pg_stat_get_xact_tuples_inserted(c.oid) AS inserted,
             pg_stat_get_xact_tuples_updated(c.oid) AS updated,
             pg_stat_get_xact_tuples_deleted(c.oid) AS deleted
      FROM pg_class AS c
      WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
        AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)) AS w
JOIN pg_class AS root ON root.oid = w.oid
JOIN pg_namespace AS n ON n.oid = root.relnamespace
GROUP BY 1
HAVING sum(w.inserted + w.updated + w.deleted) > 0`;

/**
 * Refuses when this transaction wrote anything but the plan. An update that moves a row to another partition is counted by the
 * server as a delete and an insert, so the sums "rows that came" and "rows that went" are compared, not the three counts.
 * Without `track_counts` the server does not count, and the check is left out (the plan's warnings say so).
 *
 * @throws RecoveryError `integrity_failed`
 */
export async function refuseOtherWrites(
  session: RestoreSession,
  before: WriteCounters,
  planned: ReadonlyMap<string, WriteCounts>,
): Promise<void> {
  if (!(await countsWrites(session.client))) return;
  const now = await readWriteCounters(session.client);
  for (const label of new Set([...now.keys(), ...planned.keys()])) {
    const written = difference(now.get(label), before.get(label));
    const plan = planned.get(label) ?? { inserted: 0, updated: 0, deleted: 0 };
    if (sameWrites(written, plan)) continue;
    throw new RecoveryError(
      "integrity_failed",
      `The restore planned ${describe(plan)} in ${label}, but ${describe(written)} were written; everything was rolled back.${nameTriggers(session, planned)}`,
      { table: label, hint: "Restore with triggers suppressed, or disable the trigger that writes other rows." },
    );
  }
}

/** Whether the server counts writes at all (on unless a superuser switched it off). */
export async function countsWrites(client: SourceClient): Promise<boolean> {
  const { rows } = await client.query<{ on: boolean }>("SELECT current_setting('track_counts')::boolean AS on");
  return rows[0]?.on === true;
}

/** Exported for its test. */
export function sameWrites(written: WriteCounts, planned: WriteCounts): boolean {
  return (
    written.inserted + written.updated === planned.inserted + planned.updated &&
    written.deleted + written.updated === planned.deleted + planned.updated
  );
}

function difference(now: Counter | undefined, before: Counter | undefined): WriteCounts {
  return {
    inserted: (now?.inserted ?? 0) - (before?.inserted ?? 0),
    updated: (now?.updated ?? 0) - (before?.updated ?? 0),
    deleted: (now?.deleted ?? 0) - (before?.deleted ?? 0),
  };
}

function describe(counts: WriteCounts): string {
  return `${counts.inserted} inserts, ${counts.updated} updates and ${counts.deleted} deletes`;
}

/** The triggers that fired on any table of the plan: the one that wrote elsewhere is among them. */
function nameTriggers(session: RestoreSession, planned: ReadonlyMap<string, WriteCounts>): string {
  const fired = session.catalog.tables
    .filter((table) => planned.has(tableLabel(table.table)))
    .flatMap((table) =>
      plannedTriggers(table, session.triggersMode, ["insert", "update", "delete"]).map(
        (trigger) => `${trigger.name} on ${tableLabel(table.table)}`,
      ),
    );
  return fired.length === 0 ? "" : ` Triggers that fired: ${fired.join(", ")}.`;
}
