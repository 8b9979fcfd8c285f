import { z } from "zod";
import type { SequenceState } from "../archive/manifest.ts";
import { quoteTable } from "../postgres/identifiers.ts";
import { type TableName, tableLabel } from "../postgres/tenancy.ts";
import { isChanged, type TableDifference } from "./difference.ts";
import type { RestoreSession } from "./session.ts";
import { slot, temp } from "./temp-tables.ts";

/**
 * Up to this gap a sequence is advanced by nextval, which can't go backwards whatever others do; beyond it by setval, which
 * could only if others took more than this many values in the microseconds between reading the sequence and setting it.
 */
const NEXTVAL_UP_TO = 1000;

/**
 * Advances the sequences behind the inserted rows past them, so that the application's next insert does not collide. Never
 * backwards. Sequences are not transactional: this is the last step before the commit, and what a failed commit would leave
 * behind is a gap in numbers.
 */
export async function advanceSequences(
  session: RestoreSession,
  differences: readonly TableDifference[],
): Promise<string[]> {
  const warnings: string[] = [];
  for (const difference of differences.filter(isChanged)) {
    if (difference.change.inserted.rows === 0) continue;
    for (const owned of difference.compared.table.ownedSequences) {
      const position = difference.compared.columns.findIndex((column) => column.name === owned.column);
      if (position === -1) continue;
      const archived = session.archive.manifest.sequences.find(
        (state) =>
          tableLabel(state.table) === difference.compared.label && state.column === owned.column && state.isCalled,
      );
      warnings.push(...(await advance(session, difference, owned.sequence, position, archived)));
    }
  }
  return warnings;
}

const Gap = z.object({
  wanted: z.string().nullable(),
  gap: z.string().nullable(),
});

async function advance(
  session: RestoreSession,
  difference: TableDifference,
  sequence: TableName,
  position: number,
  archived: SequenceState | undefined,
): Promise<string[]> {
  const name = quoteTable(sequence);
  if (!(await mayAdvance(session, name))) {
    return [
      `The role may not read and advance the sequence of ${difference.compared.label}.${difference.compared.columns[position]?.name}; check that it does not stand before the restored rows.`,
    ];
  }
  const value = `a.${slot(position)}`;
  const { rows } = await session.client.query(
    `WITH furthest AS (
       SELECT s.seqincrement AS increment, s.seqmin, s.seqmax,
              CASE WHEN s.seqincrement > 0 THEN greatest(max(${value})::numeric, $2::numeric) ELSE least(min(${value})::numeric, $2::numeric) END AS wanted
       FROM pg_sequence AS s LEFT JOIN ${temp(difference.compared, "after")} AS a ON a.op = 'insert'
       WHERE s.seqrelid = $1::text::regclass
       GROUP BY s.seqrelid, s.seqincrement, s.seqmin, s.seqmax)
     SELECT f.wanted::text AS wanted,
            ((f.wanted - CASE WHEN n.is_called THEN n.last_value ELSE n.last_value - f.increment END) / f.increment)::text AS gap
     FROM furthest AS f, ${name} AS n WHERE f.wanted BETWEEN f.seqmin AND f.seqmax`,
    [name, archived?.lastValue ?? null],
  );
  const behind = Gap.optional().parse(rows[0]);
  const gap = Math.ceil(Number(behind?.gap ?? 0));
  if (behind === undefined || gap <= 0) return [];
  if (gap <= NEXTVAL_UP_TO) {
    await session.client.query("SELECT count(nextval($1::text::regclass)) FROM generate_series(1, $2::int)", [
      name,
      gap,
    ]);
  } else {
    await session.client.query("SELECT setval($1::text::regclass, $2::bigint)", [name, behind.wanted]);
  }
  return [];
}

async function mayAdvance(session: RestoreSession, sequence: string): Promise<boolean> {
  const { rows } = await session.client.query<{ may: boolean }>(
    "SELECT has_sequence_privilege($1::text, 'SELECT') AND has_sequence_privilege($1::text, 'UPDATE') AS may",
    [sequence],
  );
  return rows[0]?.may === true;
}
