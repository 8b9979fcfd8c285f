import type { LoggedChange } from "./logged-lines.ts";

/** Changes handed on at a time. */
const BATCH = 1_000;

/** A change and the stream it came from. */
export interface FromStream<S> {
  readonly change: LoggedChange;
  readonly stream: S;
}

/** Merges streams that are each in the order of (commit LSN, seq) into one; at a tie the earlier stream goes first. Holds one batch of each. */
export async function* mergeChanges<S>(
  streams: readonly { readonly stream: S; readonly batches: AsyncIterator<readonly LoggedChange[]> }[],
): AsyncGenerator<FromStream<S>[]> {
  const cursors = streams.map(({ stream, batches }) => ({ stream, batches, batch: NONE, at: 0 }));
  let merged: FromStream<S>[] = [];
  for (;;) {
    for (const cursor of cursors) {
      while (cursor.at === cursor.batch.length && cursor.batch !== END) {
        const next = await cursor.batches.next();
        cursor.batch = next.done === true ? END : next.value;
        cursor.at = 0;
      }
    }
    // Until one of them has to be asked for more.
    for (;;) {
      const first = firstOf(cursors);
      const change = first?.batch[first.at];
      if (first === null || change === undefined) break;
      merged.push({ change, stream: first.stream });
      first.at += 1;
      if (merged.length === BATCH) {
        yield merged;
        merged = [];
      }
      if (first.at === first.batch.length) break;
    }
    if (cursors.every((cursor) => cursor.batch === END)) break;
  }
  if (merged.length > 0) yield merged;
}

const NONE: readonly LoggedChange[] = [];
const END: readonly LoggedChange[] = [];

function firstOf<C extends { readonly batch: readonly LoggedChange[]; readonly at: number }>(
  cursors: readonly C[],
): C | null {
  let first: C | null = null;
  for (const cursor of cursors) {
    const change = cursor.batch[cursor.at];
    const other = first?.batch[first.at];
    if (change !== undefined && (other === undefined || compareChanges(change, other) < 0)) first = cursor;
  }
  return first;
}

/** By commit LSN, then seq. */
export function compareChanges(a: LoggedChange, b: LoggedChange): number {
  if (a.transaction.lsn !== b.transaction.lsn) return a.transaction.lsn < b.transaction.lsn ? -1 : 1;
  return a.seq - b.seq;
}
