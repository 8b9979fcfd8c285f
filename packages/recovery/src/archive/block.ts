import { promisify } from "node:util";
import {
  constants,
  createGzip,
  createZstdCompress,
  type Gzip,
  gzip,
  gzipSync,
  type ZlibOptions,
  type ZstdCompress,
  type ZstdOptions,
  zstdCompress,
  zstdCompressSync,
} from "node:zlib";

/** How a backup's blocks are compressed: `gzip`, which every machine can read, or `zstd`, a third of the work at a tenth less size. */
export type Compression = "gzip" | "zstd";

const gzipAsync = promisify<Uint8Array, ZlibOptions, Buffer>(gzip);
const zstdAsync = promisify<Uint8Array, ZstdOptions, Buffer>(zstdCompress);

/**
 * Level 1: the server sends rows faster than one core compresses them at any higher level (DESIGN §10). The largest memLevel is a
 * fifth faster than the default at the same size.
 */
const GZIP = { level: 1, memLevel: 9 } as const;
const ZSTD = { params: { [constants.ZSTD_c_compressionLevel]: 1 } } as const;

/** Up to this size a trip to the thread pool costs more than the compression; a small tenant has a dozen such blocks and no more. */
const SMALL_BYTES = 65_536;

/** One block: a gzip member, or a zstd frame, of these rows. Large ones run on the libuv pool, so they are compressed side by side. */
export async function compressBlock(rows: Uint8Array, compression: Compression = "gzip"): Promise<Buffer> {
  const chunkSize = outputChunk(rows.length);
  const small = rows.length <= SMALL_BYTES;
  if (compression === "zstd") {
    const options = { ...ZSTD, chunkSize };
    return small ? zstdCompressSync(rows, options) : zstdAsync(rows, options);
  }
  const options = { ...GZIP, chunkSize };
  return small ? gzipSync(rows, options) : gzipAsync(rows, options);
}

/** A block for one row that is longer than BLOCK_BYTES: it streams, because the row may not fit into memory. */
export function compressLongRow(compression: Compression): Gzip | ZstdCompress {
  return compression === "zstd" ? createZstdCompress(ZSTD) : createGzip(GZIP);
}

/** What is allocated at a time: a good third of the rows is mostly enough for all of the output at once. */
function outputChunk(bytes: number): number {
  return Math.max(4096, Math.ceil(bytes * 0.4));
}
