import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { createGunzip, createZstdDecompress, type ZstdOptions, zstdDecompress } from "node:zlib";
import type { Compression } from "./block.ts";
import { BLOCK_BYTES } from "./row-engine.ts";
import { cutFrames, type FramePiece, NotZstd } from "./zstd-frames.ts";

/** What a decompressor hands over at a time. */
const CHUNK_BYTES = 262_144;
/** Frames that are unpacked while the rows before them are being looked at. */
const AHEAD = 3;

const unpackFrame = promisify<Uint8Array, ZstdOptions, Buffer>(zstdDecompress);

/**
 * The COPY text in a sequence of blocks, in chunks cut anywhere.
 * @throws errors for which `isPackError` holds, where the blocks are damaged; what `stored` throws
 */
export function unpack(
  stored: AsyncIterable<Uint8Array>,
  compression: Compression,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  if (compression === "zstd") return unpackFrames(stored, signal);
  return through(stored, createGunzip({ chunkSize: CHUNK_BYTES }), signal);
}

/** Whether this is what a decompressor says of damaged or truncated input. */
export function isPackError(error: unknown): boolean {
  if (error instanceof NotZstd) return true;
  if (!(error instanceof Error && "code" in error && typeof error.code === "string")) return false;
  return /^(Z_|ZSTD_error_|ERR_BUFFER_TOO_LARGE$)/.test(error.code);
}

/** Blocks are unpacked side by side on the thread pool, a few ahead; only a block of one long row streams. */
async function* unpackFrames(
  stored: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const ahead: Promise<Buffer>[] = [];
  const pieces = cutFrames(stored);
  let begun: Uint8Array[] = [];
  for (let next = await pieces.next(); !next.done; next = await pieces.next()) {
    const { bytes, endsFrame, contentBytes } = next.value;
    if (begun.length === 0 && !isBlock(next.value)) {
      while (ahead.length > 0) yield* arrived(ahead);
      yield* through(restOfFrame(next.value, pieces), createZstdDecompress({ chunkSize: CHUNK_BYTES }), signal);
      continue;
    }
    begun.push(bytes);
    if (!endsFrame) continue;
    const block = unpackFrame(Buffer.concat(begun), {
      // With room to spare: a chunk that is full to the brim costs another round, for nothing.
      chunkSize: (contentBytes ?? 0) + 64,
      maxOutputLength: BLOCK_BYTES,
    });
    block.catch(() => {});
    ahead.push(block);
    begun = [];
    if (ahead.length > AHEAD) yield* arrived(ahead);
  }
  while (ahead.length > 0) yield* arrived(ahead);
}

/** A block of whole rows says its size; a row that was too long for one was streamed, and does not. */
function isBlock({ contentBytes }: FramePiece): boolean {
  return contentBytes !== null && contentBytes <= BLOCK_BYTES;
}

async function* arrived(ahead: Promise<Buffer>[]): AsyncGenerator<Buffer> {
  const block = await ahead.shift();
  if (block !== undefined) yield block;
}

async function* restOfFrame(first: FramePiece, pieces: AsyncIterator<FramePiece>): AsyncGenerator<Uint8Array> {
  for (let piece = first; ; ) {
    yield piece.bytes;
    if (piece.endsFrame) return;
    const next = await pieces.next();
    if (next.done) return;
    piece = next.value;
  }
}

async function* through(
  stored: AsyncIterable<Uint8Array>,
  decompressor: NodeJS.ReadWriteStream & AsyncIterable<Buffer>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const pumped = pipeline(Readable.from(stored), decompressor, signal === undefined ? {} : { signal });
  pumped.catch(() => {});
  yield* decompressor;
  await pumped;
}
