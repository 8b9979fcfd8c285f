/** Where zstd frames end in a stream of them (RFC 8878, 3.1.1). */

const MAGIC = 0xfd2fb528;
const BLOCK_HEADER = 3;
const BLOCK_TYPE_RLE = 1;
const BLOCK_TYPE_RESERVED = 3;
const CHECKSUM = 4;

/** Bytes that lie in one frame. */
export interface FramePiece {
  readonly bytes: Uint8Array;
  readonly endsFrame: boolean;
  /** What the frame holds when it is unpacked, as its header says; null where the header doesn't. */
  readonly contentBytes: number | null;
}

/** A stream that is no sequence of zstd frames. */
export class NotZstd extends Error {}

/**
 * Cuts a stream of zstd frames at their ends; the pieces are views of what came in. node's decompressor stops at the end of the first
 * frame and does not tell where that was.
 *
 * @throws NotZstd where the stream holds something else than whole frames
 */
export async function* cutFrames(stream: AsyncIterable<Uint8Array>): AsyncGenerator<FramePiece> {
  const frames = new FrameWalker();
  for await (const chunk of stream) yield* frames.cut(chunk);
  frames.end();
}

class FrameWalker {
  /** What is still to come of the header that was begun: a frame's or a block's. */
  #header: number[] = [];
  #expects: "frame" | "block" = "frame";
  /** Bytes to pass over before the next header. */
  #skip = 0;
  #lastBlock = false;
  #checksum = false;
  #contentBytes: number | null = null;

  *cut(chunk: Uint8Array): Generator<FramePiece> {
    let from = 0;
    let at = 0;
    while (at < chunk.length) {
      const passed = Math.min(this.#skip, chunk.length - at);
      this.#skip -= passed;
      at += passed;
      if (this.#skip === 0 && !this.#lastBlock && at < chunk.length) {
        this.#header.push(chunk[at] ?? 0);
        at += 1;
        this.#readHeader();
      }
      if (this.#skip === 0 && this.#lastBlock) {
        yield { bytes: chunk.subarray(from, at), endsFrame: true, contentBytes: this.#contentBytes };
        from = at;
        this.#lastBlock = false;
        this.#expects = "frame";
      }
    }
    if (from < at) yield { bytes: chunk.subarray(from, at), endsFrame: false, contentBytes: this.#contentBytes };
  }

  end(): void {
    if (this.#expects === "block" || this.#header.length > 0) throw new NotZstd("The stream ends within a frame");
  }

  #readHeader(): void {
    if (this.#expects === "frame") this.#readFrameHeader();
    else if (this.#header.length === BLOCK_HEADER) this.#readBlockHeader();
  }

  #readFrameHeader(): void {
    const header = Buffer.from(this.#header);
    if (header.length === 4 && header.readUInt32LE() !== MAGIC) throw new NotZstd("A frame does not begin as one");
    const descriptor = header[4];
    if (descriptor === undefined) return;
    const singleSegment = (descriptor & 0x20) !== 0;
    const sizeFlag = descriptor >> 6;
    const sizeBytes = sizeFlag === 0 ? Number(singleSegment) : 1 << sizeFlag;
    const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
    const sizeAt = 5 + Number(!singleSegment) + dictionaryBytes;
    if (header.length < sizeAt + sizeBytes) return;
    this.#contentBytes = contentBytes(header.subarray(sizeAt));
    this.#checksum = (descriptor & CHECKSUM) !== 0;
    this.#header = [];
    this.#expects = "block";
  }

  #readBlockHeader(): void {
    const header = Buffer.from(this.#header).readUIntLE(0, BLOCK_HEADER);
    const type = (header >> 1) & 3;
    if (type === BLOCK_TYPE_RESERVED) throw new NotZstd("A block has no known type");
    this.#lastBlock = (header & 1) === 1;
    this.#skip = (type === BLOCK_TYPE_RLE ? 1 : header >> 3) + (this.#lastBlock && this.#checksum ? 4 : 0);
    this.#header = [];
  }
}

function contentBytes(field: Buffer): number | null {
  switch (field.length) {
    case 0:
      return null;
    case 2:
      return field.readUInt16LE() + 256;
    case 8:
      return Number(field.readBigUInt64LE());
    default:
      return field.readUIntLE(0, field.length);
  }
}
