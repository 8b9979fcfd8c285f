import { createHash } from "node:crypto";
import { StorageError } from "./errors.ts";
import type { ByteRange, ObjectBody, StoredObject } from "./object-store.ts";

/**
 * The chunks of a body, one at a time, until `signal` aborts: also while the body hangs. What the body throws passes through; when reading ends
 * early, the body is told so (a stream is destroyed).
 */
export async function* chunksOf(body: ObjectBody, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  signal?.throwIfAborted();
  if (body instanceof Uint8Array) {
    yield body;
    return;
  }
  const iterator = body[Symbol.asyncIterator]();
  const turn = new AbortableTurn(signal);
  let running = true;
  try {
    while (true) {
      const next = await turn.take(iterator);
      if (next.done) running = false;
      if (next.done) return;
      if (next.value.byteLength > 0) yield next.value;
    }
  } catch (error) {
    // A body that threw has ended by itself.
    running = signal?.aborted ?? false;
    throw error;
  } finally {
    turn.forget();
    // Not awaited: a body that hangs would not answer.
    if (running) iterator.return?.()?.catch(() => {});
  }
}

/**
 * One promise per chunk. Racing every chunk against one long-lived "aborted" promise would keep a reaction for each chunk until the end:
 * 16 million of them for a terabyte.
 */
class AbortableTurn {
  readonly #signal: AbortSignal | undefined;
  #interrupt: ((reason: unknown) => void) | undefined;
  readonly #onAbort = (): void => this.#interrupt?.(this.#signal?.reason);

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
    signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  take(iterator: AsyncIterator<Uint8Array>): Promise<IteratorResult<Uint8Array>> {
    return new Promise((resolve, reject) => {
      this.#signal?.throwIfAborted();
      this.#interrupt = reject;
      iterator.next().then(resolve, reject);
    });
  }

  forget(): void {
    this.#signal?.removeEventListener("abort", this.#onAbort);
  }
}

/** Counts and digests what passes. */
export class BodyDigest {
  readonly #hash = createHash("sha256");
  #bytes = 0;

  add(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.#bytes += chunk.byteLength;
  }

  result(): StoredObject {
    return { bytes: this.#bytes, sha256: this.#hash.digest("hex") };
  }
}

/** @throws StorageError `store_error`, never retryable: a range is the caller's arithmetic. */
export function assertRange(range: ByteRange | undefined, key: string): void {
  if (range === undefined) return;
  const sound = [range.offset, range.length, range.offset + range.length].every(
    (n) => Number.isSafeInteger(n) && n >= 0,
  );
  if (sound) return;
  throw new StorageError("store_error", `The range ${range.offset}+${range.length} of ${key} is no range of bytes.`, {
    key,
    retryable: false,
  });
}
