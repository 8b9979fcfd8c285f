const MIB = 1024 * 1024;
/** S3's limits. */
const MOST_PARTS = 10_000;
const PARTS_PER_SIZE = 800;
const FIRST_PART = 8 * MIB;
const LARGEST_PART = 1024 * MIB;
/** What parts on their way may occupy together, as long as more than one fits in. */
const IN_FLIGHT_BYTES = 32 * MIB;

/**
 * The size of the n-th part (from 1) of an upload whose length is unknown. Every part but the last must be held in memory whole, and there may
 * be 10,000 of them at most: so parts are small while an object is small, and double after every 800, up to 1 GiB. Objects up to 6 GiB go in
 * parts of 8 MiB, up to 94 GiB in parts of at most 64 MiB, and 10,000 parts hold 5.07 TiB: more than S3's largest object.
 *
 * @throws RangeError beyond 10,000
 */
export function partSize(partNumber: number): number {
  if (partNumber < 1 || partNumber > MOST_PARTS) throw new RangeError(`S3 knows no part ${partNumber}`);
  return Math.min(FIRST_PART * 2 ** Math.floor((partNumber - 1) / PARTS_PER_SIZE), LARGEST_PART);
}

/** How many parts of this size may be on their way while the next one fills. */
export function partsInFlight(size: number): number {
  return Math.max(1, Math.floor(IN_FLIGHT_BYTES / size));
}
