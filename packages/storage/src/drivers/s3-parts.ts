import { partSize } from "./s3-part-sizes.ts";

/** Where a first part's buffer begins to grow: most objects are small. */
const SMALLEST_BUFFER = 64 * 1024;

export interface Part {
  /** From 1. */
  readonly number: number;
  readonly data: Uint8Array;
  /** Shorter than a part of this number may be: the body has ended with it. */
  readonly short: boolean;
  /** Gives the buffer back, for a later part to fill. */
  release(): void;
}

/**
 * Cuts a body into parts: each of its full size but the last. An empty body is one empty part. Buffers are used again, so that memory does not
 * depend on when the garbage collector notices them.
 */
export async function* cutIntoParts(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Part> {
  const free: Buffer[] = [];
  let number = 1;
  let buffer: Buffer = Buffer.alloc(0);
  let filled = 0;
  const finish = (): Part => {
    const used = buffer;
    const part = {
      number,
      data: used.subarray(0, filled),
      short: filled < partSize(number),
      release: () => void free.push(used),
    };
    number++;
    filled = 0;
    buffer = free.pop() ?? Buffer.alloc(0);
    return part;
  };
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.byteLength; ) {
      const size = partSize(number);
      const taken = Math.min(chunk.byteLength - at, size - filled);
      buffer = withRoom(buffer, filled, filled + taken, size, number === 1);
      buffer.set(chunk.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled === size) yield finish();
    }
  }
  if (filled > 0 || number === 1) yield finish();
}

/** A buffer that holds `needed` bytes, with the `filled` ones of the old in it. */
function withRoom(buffer: Buffer, filled: number, needed: number, size: number, grows: boolean): Buffer {
  if (buffer.byteLength >= needed && buffer.byteLength <= size) return buffer;
  const bytes = grows ? Math.min(size, Math.max(SMALLEST_BUFFER, needed, buffer.byteLength * 2)) : size;
  const larger = Buffer.allocUnsafeSlow(bytes);
  buffer.copy(larger, 0, 0, filled);
  return larger;
}
