import type { ObjectStore, StoredObject } from "@rowback/storage";
import { RecoveryError } from "../errors.ts";
import type { PartSink } from "./part-sink.ts";

/** Up to here a part waits in memory and is put in one call, which a retrying store can repeat; most tenants fit. */
const EAGER_BYTES = 4 * 1_048_576;
/** Bytes that may wait for a slower store before `write` holds its caller back. */
const WAITING_BYTES = 2 * 1_048_576;

/**
 * Writes one object piece by piece. It becomes visible when `finish` has succeeded, and never after `abort`.
 * A failed upload rejects the next `write`, or `finish`.
 */
export class PartWriter implements PartSink {
  readonly #store: ObjectStore;
  readonly #key: string;
  readonly #signal: AbortSignal;
  #bytes = 0;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #ended = false;
  #failure: { readonly error: unknown } | null = null;
  #upload: Promise<StoredObject> | null = null;
  /** Wakes whoever waits for the other side: the upload for pieces, or the writer for room. */
  #wake: () => void = () => {};

  constructor(store: ObjectStore, key: string, signal: AbortSignal) {
    this.#store = store;
    this.#key = key;
    this.#signal = signal;
  }

  /** Bytes written so far. */
  get bytes(): number {
    return this.#bytes;
  }

  storedLength(pieceBytes: number): number {
    return pieceBytes;
  }

  async write(piece: Uint8Array): Promise<void> {
    this.#throwFailure();
    this.#bytes += piece.length;
    this.#waiting.push(piece);
    this.#waitingBytes += piece.length;
    if (this.#upload === null) {
      if (this.#bytes > EAGER_BYTES) this.#startUpload();
      return;
    }
    this.#wake();
    while (this.#waitingBytes > WAITING_BYTES && this.#failure === null) await this.#change();
    this.#throwFailure();
  }

  async finish(): Promise<StoredObject> {
    this.#ended = true;
    this.#wake();
    const stored = await (this.#upload ??
      this.#store.put(this.#key, Buffer.concat(this.#waiting, this.#bytes), { signal: this.#signal }));
    this.#waiting = [];
    if (stored.bytes !== this.#bytes) {
      throw new RecoveryError("store_error", `The store kept ${stored.bytes} of ${this.#bytes} bytes of a part`);
    }
    return stored;
  }

  async abort(error: unknown): Promise<void> {
    this.#fail(error);
    await this.#upload?.catch(() => {});
  }

  #startUpload(): void {
    const upload = this.#store.put(this.#key, this.#pieces(), { signal: this.#signal });
    upload.catch((error: unknown) => this.#fail(error));
    this.#upload = upload;
  }

  async *#pieces(): AsyncGenerator<Uint8Array> {
    for (;;) {
      this.#throwFailure();
      const piece = this.#waiting.shift();
      if (piece !== undefined) {
        this.#waitingBytes -= piece.length;
        this.#wake();
        yield piece;
      } else if (this.#ended) {
        return;
      } else {
        await this.#change();
      }
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake();
  }

  #throwFailure(): void {
    if (this.#failure !== null) throw this.#failure.error;
  }

  /** Writer and upload never wait at the same time: one waits for room, the other for pieces. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
