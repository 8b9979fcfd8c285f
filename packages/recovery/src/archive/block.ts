import { promisify } from "node:util";
import { createGzip, type Gzip, gzip, gzipSync, type ZlibOptions } from "node:zlib";

const compress = promisify<Uint8Array, ZlibOptions, Buffer>(gzip);

/**
 * Level 1: the server sends rows faster than one core compresses them at any higher level (DESIGN §10). The largest memLevel is a
 * fifth faster than the default at the same size.
 */
const OPTIONS = { level: 1, memLevel: 9 } as const;

/** Up to this size a trip to the thread pool costs more than the compression; a small tenant has a dozen such blocks and no more. */
const SMALL_BYTES = 65_536;

/** One block: a gzip member of these rows. Large ones run on the libuv pool, so they are compressed side by side. */
export async function compressBlock(rows: Uint8Array): Promise<Buffer> {
  const options = { ...OPTIONS, chunkSize: outputChunk(rows.length) };
  return rows.length <= SMALL_BYTES ? gzipSync(rows, options) : compress(rows, options);
}

/** A block for one row that is longer than BLOCK_BYTES: it streams, because the row may not fit into memory. */
export function compressLongRow(): Gzip {
  return createGzip(OPTIONS);
}

/** What zlib allocates at a time: a good third of the rows is mostly enough for all of the output at once. */
function outputChunk(bytes: number): number {
  return Math.max(4096, Math.ceil(bytes * 0.4));
}
