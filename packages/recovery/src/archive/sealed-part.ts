import type { StoredObject } from "@rowback/storage";
import { RecoveryError } from "../errors.ts";
import { type BackupSeal, frameAad } from "./backup-seal.ts";
import type { PartSink } from "./part-sink.ts";
import { openBlock, SEAL_BYTES, sealBlock } from "./sealed-block.ts";

const LENGTH_BYTES = 4;
const NO_BYTES = new Uint8Array();
/** Twice the largest block; a damaged length must not fill the memory. */
const MOST_SEALED_BYTES = 2 * 1_048_576;

/** The frame that ends a part; no range of a table holds it. */
export const END_FRAME_BYTES = LENGTH_BYTES + SEAL_BYTES;

/** Seals each piece into a frame of its own, and ends the part with an end frame. */
export class SealedPartWriter implements PartSink {
  readonly #sink: PartSink;
  readonly #seal: BackupSeal;
  readonly #part: number;
  #frames = 0;

  constructor(sink: PartSink, seal: BackupSeal, part: number) {
    this.#sink = sink;
    this.#seal = seal;
    this.#part = part;
  }

  get bytes(): number {
    return this.#sink.bytes;
  }

  storedLength(pieceBytes: number): number {
    return LENGTH_BYTES + SEAL_BYTES + pieceBytes;
  }

  async write(piece: Uint8Array): Promise<void> {
    await this.#sink.write(this.#frame(piece, false));
  }

  async finish(): Promise<StoredObject> {
    await this.#sink.write(this.#frame(NO_BYTES, true));
    return await this.#sink.finish();
  }

  abort(error: unknown): Promise<void> {
    return this.#sink.abort(error);
  }

  #frame(bytes: Uint8Array, isEnd: boolean): Buffer {
    const sealed = sealBlock(this.#seal.key, frameAad(this.#seal, this.#part, this.#frames, isEnd), bytes);
    this.#frames += 1;
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32BE(sealed.length);
    return Buffer.concat([length, sealed]);
  }
}

/** An opened frame, and where it lies in its part: stored bytes from `offset` up to `end`. */
export interface OpenedFrame {
  readonly offset: number;
  readonly end: number;
  readonly bytes: Buffer;
}

/**
 * Opens a part's frames one by one as its bytes arrive. A frame is handed out only after its tag was checked for this very place; the iteration
 * ends well only behind the end frame.
 * @throws RecoveryError `archive_damaged`: anything cut, added, altered, moved, or another part's, attempt's, backup's or tenant's
 */
export async function* openFrames(
  seal: BackupSeal,
  part: number,
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<OpenedFrame> {
  const stored = new PieceBuffer(pieces);
  let offset = 0;
  let ended = false;
  for (let number = 0; await stored.has(1); number += 1) {
    if (ended) throw damagedFrames(part, "goes on behind its end");
    const length = (await stored.has(LENGTH_BYTES)) ? stored.take(LENGTH_BYTES).readUInt32BE() : 0;
    if (length < SEAL_BYTES || length > MOST_SEALED_BYTES || !(await stored.has(length))) {
      throw damagedFrames(part, `breaks off in frame ${number}`);
    }
    ended = length === SEAL_BYTES;
    const bytes = openFrame(seal, part, number, ended, stored.take(length));
    const end = offset + LENGTH_BYTES + length;
    yield { offset, end, bytes };
    offset = end;
  }
  if (!ended) throw damagedFrames(part, "has no end frame: it was cut off");
}

function openFrame(seal: BackupSeal, part: number, number: number, isEnd: boolean, sealed: Uint8Array): Buffer {
  try {
    return openBlock(seal.key, frameAad(seal, part, number, isEnd), sealed);
  } catch (cause) {
    throw damagedFrames(part, `has another frame ${number} than was written there`, cause);
  }
}

/** Bytes that arrive in pieces of any size, taken in lengths that the reader knows. */
class PieceBuffer {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #held: Uint8Array[] = [];
  #heldBytes = 0;

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.asyncIterator]();
  }

  /** Whether so many bytes are there, after reading as far as need be. */
  async has(bytes: number): Promise<boolean> {
    while (this.#heldBytes < bytes) {
      const next = await this.#pieces.next();
      if (next.done === true) return false;
      this.#held.push(next.value);
      this.#heldBytes += next.value.length;
    }
    return true;
  }

  /** The next bytes, which `has` has found. */
  take(bytes: number): Buffer {
    const [first] = this.#held;
    const all =
      this.#held.length === 1 && first !== undefined
        ? Buffer.from(first.buffer, first.byteOffset, first.length)
        : Buffer.concat(this.#held);
    this.#held = [all.subarray(bytes)];
    this.#heldBytes -= bytes;
    return all.subarray(0, bytes);
  }
}

function damagedFrames(part: number, how: string, cause?: unknown): RecoveryError {
  return new RecoveryError("archive_damaged", `Part ${part} of the backup ${how}`, {
    hint: "Restore from another backup, and check the object store.",
    cause,
  });
}
