import type { LoggedChange } from "./logged-lines.ts";

/** Items handed on at a time. */
const BATCH = 1_000;

/**
 * Merges streams of batches that are each in order into one; at a tie the earlier stream goes first. Holds one batch of each.
 * @param compare as for sorting
 */
export async function* mergeBatches<T>(
  streams: readonly AsyncIterable<readonly T[]>[],
  compare: (a: T, b: T) => number,
): AsyncGenerator<T[]> {
  const cursors = streams.map((stream) => new Cursor(stream[Symbol.asyncIterator]()));
  let merged: T[] = [];
  for (;;) {
    for (const cursor of cursors) await cursor.fill();
    // Until one of them has to be asked for more.
    for (;;) {
      const first = firstOf(cursors, compare);
      const item = first?.head;
      if (first === null || item === undefined) break;
      merged.push(item);
      if (merged.length === BATCH) {
        yield merged;
        merged = [];
      }
      if (first.advance()) break;
    }
    if (cursors.every((cursor) => cursor.ended)) break;
  }
  if (merged.length > 0) yield merged;
}

/** Where one of the streams stands. */
class Cursor<T> {
  readonly #batches: AsyncIterator<readonly T[]>;
  #batch: readonly T[] = [];
  #at = 0;
  ended = false;

  constructor(batches: AsyncIterator<readonly T[]>) {
    this.#batches = batches;
  }

  get head(): T | undefined {
    return this.#batch[this.#at];
  }

  /** True: the batch is used up. */
  advance(): boolean {
    this.#at += 1;
    return this.#at === this.#batch.length;
  }

  async fill(): Promise<void> {
    while (this.#at === this.#batch.length && !this.ended) {
      const next = await this.#batches.next();
      this.#batch = next.done === true ? [] : next.value;
      this.ended = next.done === true;
      this.#at = 0;
    }
  }
}

function firstOf<T>(cursors: readonly Cursor<T>[], compare: (a: T, b: T) => number): Cursor<T> | null {
  let first: Cursor<T> | null = null;
  for (const cursor of cursors) {
    const [item, other] = [cursor.head, first?.head];
    if (item !== undefined && (other === undefined || compare(item, other) < 0)) first = cursor;
  }
  return first;
}

/** By commit LSN, then seq. */
export function compareChanges(a: { readonly change: LoggedChange }, b: { readonly change: LoggedChange }): number {
  if (a.change.transaction.lsn !== b.change.transaction.lsn)
    return a.change.transaction.lsn < b.change.transaction.lsn ? -1 : 1;
  return a.change.seq - b.change.seq;
}
