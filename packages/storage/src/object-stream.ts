import { Readable } from "node:stream";

/** Where an object's bytes come from: a file or a socket. `pull` resolves to null at the end; `release` is called once, also after a failure. */
export interface ByteSource {
  pull(): Promise<Uint8Array | null>;
  release(): Promise<void>;
}

/**
 * A Readable over `source`, with its first chunk read already: a failure up to there rejects, one later ends the stream with an error.
 * The stream ends with the signal's reason when `signal` aborts, also after it was handed over.
 */
export async function openObjectStream(source: ByteSource, signal: AbortSignal | undefined): Promise<Readable> {
  try {
    signal?.throwIfAborted();
    const first = await source.pull();
    signal?.throwIfAborted();
    return new ObjectStream(source, first, signal);
  } catch (error) {
    await source.release();
    throw error;
  }
}

/** A stream with no bytes, for ranges that hold none. */
export function emptyObjectStream(): Readable {
  return Readable.from([]);
}

class ObjectStream extends Readable {
  readonly #source: ByteSource;
  readonly #forgetSignal: () => void;
  #first: Uint8Array | null | undefined;

  constructor(source: ByteSource, first: Uint8Array | null, signal: AbortSignal | undefined) {
    super({ highWaterMark: 1 });
    this.#source = source;
    this.#first = first;
    const onAbort = (): void => void this.destroy(asError(signal?.reason));
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#forgetSignal = () => signal?.removeEventListener("abort", onAbort);
    // An abort before the reader has attached its own listener must reach the reader, not end the process as an unhandled 'error'.
    this.on("error", () => {});
  }

  override _read(): void {
    const first = this.#first;
    if (first !== undefined) {
      this.#first = undefined;
      this.push(first);
      return;
    }
    this.#source.pull().then(
      (chunk) => {
        if (!this.destroyed) this.push(chunk);
      },
      (error: unknown) => this.destroy(asError(error)),
    );
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#forgetSignal();
    this.#source.release().then(
      () => callback(error),
      (failure: unknown) => callback(error ?? asError(failure)),
    );
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error("The operation was aborted.", { cause: thrown });
}
