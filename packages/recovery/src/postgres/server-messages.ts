/** Of a message: its kind, and its length without the kind. */
const HEAD_BYTES = 5;
const COPY_DATA = 0x64; // d

/** What is allocated at a time: small messages share it, so that many of them are a few large allocations. */
const SLAB_BYTES = 262_144;

export interface MessageTaker {
  /** What a CopyData message carries. Nobody writes to these bytes again. */
  copyData(payload: Buffer): void;
  /** Any other message, whole. */
  other(message: Buffer): void;
}

/**
 * Cuts what a server sends into its messages (PostgreSQL manual, "Message Flow"), for a connection whose messages are nearly all
 * CopyData: pg's parser makes an object and an event of each, and reads the next ones into the buffer of the last.
 */
export class ServerMessages {
  readonly #taker: MessageTaker;
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  /** Of the message that is not whole yet. */
  #begin = 0;
  #filled = 0;

  constructor(taker: MessageTaker) {
    this.#taker = taker;
  }

  /** Takes the next bytes, copied at once, and gives out the messages that are whole with them. */
  take(bytes: Uint8Array): void {
    this.#append(bytes);
    for (;;) {
      const end = this.#begin + this.#length();
      if (end > this.#filled) return;
      const message = this.#slab.subarray(this.#begin, end);
      this.#begin = end;
      if (message[0] === COPY_DATA) this.#taker.copyData(message.subarray(HEAD_BYTES));
      else this.#taker.other(message);
    }
  }

  /** Of the next message with its kind; as far as it is known. */
  #length(): number {
    const known = this.#filled - this.#begin >= HEAD_BYTES;
    return known ? 1 + this.#slab.readUInt32BE(this.#begin + 1) : HEAD_BYTES;
  }

  #append(bytes: Uint8Array): void {
    if (bytes.length > this.#slab.length - this.#filled) this.#newSlab(bytes.length);
    this.#slab.set(bytes, this.#filled);
    this.#filled += bytes.length;
  }

  /** Messages that were given out keep the one before. A long message gets all its room at once. */
  #newSlab(more: number): void {
    const begun = this.#slab.subarray(this.#begin, this.#filled);
    const slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, this.#length() + more, begun.length + more));
    begun.copy(slab);
    this.#slab = slab;
    this.#begin = 0;
    this.#filled = begun.length;
  }
}
