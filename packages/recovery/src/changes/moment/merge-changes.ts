import type { LoggedChange } from "./logged-lines.ts";

/** Items handed on at a time. */
const BATCH = 1_000;

/**
 * Merges streams of batches that are each in order into one; at a tie the earlier stream goes first. Holds one batch of each that is begun.
 * @param compare as for sorting
 * @param isDue whether a stream may have something that stands before this item; until then it is not begun, nor are those behind it
 */
export async function* mergeBatches<T>(
  streams: readonly AsyncIterable<readonly T[]>[],
  compare: (a: T, b: T) => number,
  isDue: (stream: number, item: T) => boolean = () => true,
): AsyncGenerator<T[]> {
  const cursors: Cursor<T>[] = [];
  let begun = 0;
  let merged: T[] = [];
  for (;;) {
    const first = firstOf(cursors, compare);
    const item = first?.head;
    const next = streams[begun];
    if (next !== undefined && (item === undefined || isDue(begun, item))) {
      begun += 1;
      const cursor = new Cursor(next[Symbol.asyncIterator]());
      if (await cursor.fill()) cursors.push(cursor);
      continue;
    }
    if (first === null || item === undefined) break;
    merged.push(item);
    if (merged.length === BATCH) {
      yield merged;
      merged = [];
    }
    if (first.advance() && !(await first.fill())) cursors.splice(cursors.indexOf(first), 1);
  }
  if (merged.length > 0) yield merged;
}

/** Where one of the streams stands. */
class Cursor<T> {
  readonly #batches: AsyncIterator<readonly T[]>;
  #batch: readonly T[] = [];
  #at = 0;

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

  /** Asks for the next batch that is not empty. False: there is none. */
  async fill(): Promise<boolean> {
    this.#at = 0;
    do {
      const next = await this.#batches.next();
      if (next.done === true) return false;
      this.#batch = next.value;
    } while (this.#batch.length === 0);
    return true;
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
