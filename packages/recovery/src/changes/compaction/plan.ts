/** What planning has to know of a segment. */
export interface MergeableSegment {
  /** Bytes of lines. */
  readonly rawBytes: number;
  readonly continued: boolean;
  readonly continues: boolean;
}

/** The most bytes of lines in a merged segment: it is gathered in memory. */
export const MOST_MERGED_BYTES = 64 * 1_048_576;
/** Fewer are not worth a new object. */
const FEWEST = 8;
/** A merged segment is at least so many times as large as the largest in it: a line is rewritten some six times on its way from 16 KiB to 64 MiB. */
const GROWTH = 4;

/**
 * The neighbours to merge next, or null when there is nothing worth it. A transaction that spans segments stays as it is. Pure.
 * @param segments all of an epoch, in commit order
 */
export function planMerge<T extends MergeableSegment>(segments: readonly T[]): readonly T[] | null {
  for (let most = SMALLEST_BYTES; most <= MOST_MERGED_BYTES; most *= GROWTH) {
    const group = firstGroup(segments, most);
    if (group !== null) return group;
  }
  return null;
}

/** Small ones first: what is no larger than this. */
const SMALLEST_BYTES = 16_384;

function firstGroup<T extends MergeableSegment>(segments: readonly T[], most: number): readonly T[] | null {
  let run: T[] = [];
  let bytes = 0;
  let largest = 0;
  for (const segment of segments) {
    const fits = !segment.continued && !segment.continues && segment.rawBytes <= most;
    if (!fits || bytes + segment.rawBytes > MOST_MERGED_BYTES) {
      run = [];
      bytes = 0;
      largest = 0;
    }
    if (!fits) continue;
    run.push(segment);
    bytes += segment.rawBytes;
    largest = Math.max(largest, segment.rawBytes);
    if (run.length >= FEWEST && bytes >= GROWTH * largest) return run;
  }
  return null;
}
