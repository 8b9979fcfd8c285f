import { z } from "zod";
import type { SequenceState } from "../archive/manifest.ts";
import type { SourceClient } from "../postgres/source.ts";
import { type TableName, tableLabel } from "../postgres/tenancy.ts";
import type { PlannedTable } from "./plan.ts";

const Row = z.object({ schema: z.string(), name: z.string(), lastValue: z.string(), isCalled: z.boolean() });

/**
 * Where the sequences of these tables stand, in one round trip. Sequences live outside snapshots: read them after the rows.
 * Those the role may not read are named, not refused: a role that may only read tables is common, and a restore can tell
 * a safe value from the rows.
 */
export async function readSequences(
  client: SourceClient,
  tables: readonly PlannedTable[],
): Promise<{ readonly states: readonly SequenceState[]; readonly unreadable: readonly TableName[] }> {
  const owned = tables.flatMap(({ source }) =>
    source.ownedSequences.map((sequence) => ({ ...sequence, table: source.table })),
  );
  if (owned.length === 0) return { states: [], unreadable: [] };
  const { rows } = await client.query(SEQUENCES, [
    owned.map(({ sequence }) => sequence.schema),
    owned.map(({ sequence }) => sequence.name),
  ]);
  const states = new Map(rows.map((row) => Row.parse(row)).map((row) => [tableLabel(row), row]));
  return {
    states: owned.flatMap(({ sequence, table, column }) => {
      const state = states.get(tableLabel(sequence));
      if (state === undefined) return [];
      return [{ sequence, table, column, lastValue: state.lastValue, isCalled: state.isCalled }];
    }),
    unreadable: owned.map(({ sequence }) => sequence).filter((sequence) => !states.has(tableLabel(sequence))),
  };
}

/**
 * `pg_sequence_last_value` is null until the sequence was first used: it then stands at its start. Both functions raise on anything
 * but a sequence, and the planner may call them before it joins: they are given `pg_sequence`'s own oid, never `pg_class`'s.
 */
const SEQUENCES = `
SELECT n.nspname AS schema, c.relname AS name,
       coalesce(pg_catalog.pg_sequence_last_value(s.seqrelid), s.seqstart)::text AS "lastValue",
       pg_catalog.pg_sequence_last_value(s.seqrelid) IS NOT NULL AS "isCalled"
FROM unnest($1::text[], $2::text[]) AS wanted (schema, name)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name
JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = c.oid
WHERE pg_catalog.has_sequence_privilege(s.seqrelid, 'SELECT, USAGE')`;
