import pRetry from "p-retry";
import { StorageError } from "./errors.ts";
import type { CallOptions, ListOptions, ObjectBody, ObjectInfo, ObjectStore, PutOptions } from "./object-store.ts";

export interface RetryOptions {
  /** Tries in all; 1 tries once. */
  readonly attempts: number;
  /** Before the second try: this, up to twice this (jitter); doubled for each further try. */
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
  readonly onRetry?: ((retry: Retry) => void) | undefined;
}

export interface Retry {
  readonly operation: "put" | "get" | "head" | "list" | "delete" | "collect" | "probe";
  /** The try that failed, from 1. */
  readonly attempt: number;
  readonly delayMs: number;
  readonly error: StorageError;
}

/**
 * Tries again what failed with a retryable `StorageError`: `get` up to its first byte, a listing from where it broke off, `head`, `delete`,
 * `probe`, and `put` as long as its body can be sent again: a Uint8Array, or a stream that was not read from yet. A stream that was is the
 * caller's to produce anew. A put with `onlyIfAbsent` is tried once: after a lost answer, the object that exists might be our own.
 */
export function withRetry(store: ObjectStore, retry: RetryOptions): ObjectStore {
  const attempt = <T>(
    operation: Retry["operation"],
    options: CallOptions | undefined,
    fn: () => Promise<T>,
    again = () => true,
  ): Promise<T> =>
    pRetry(fn, {
      retries: retry.attempts - 1,
      minTimeout: retry.minDelayMs,
      maxTimeout: retry.maxDelayMs,
      factor: 2,
      randomize: true,
      ...(options?.signal && { signal: options.signal }),
      shouldRetry: ({ error }) => error instanceof StorageError && error.retryable && again(),
      onFailedAttempt: ({ error, attemptNumber, retryDelay, retriesLeft }) => {
        if (!(error instanceof StorageError) || !error.retryable || retriesLeft === 0 || !again()) return;
        retry.onRetry?.({ operation, attempt: attemptNumber, delayMs: retryDelay, error });
      },
    });

  const put = (key: string, body: ObjectBody, options?: PutOptions) => {
    if (options?.onlyIfAbsent) return store.put(key, body, options);
    const watched = watchReading(body);
    return attempt("put", options, () => store.put(key, watched.body, options), watched.repeatable);
  };

  async function* list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    let { startAfter } = options;
    let listing: AsyncIterator<ObjectInfo> | undefined;
    const nextObject = async (): Promise<IteratorResult<ObjectInfo>> => {
      listing ??= store.list(prefix, { ...options, startAfter })[Symbol.asyncIterator]();
      try {
        return await listing.next();
      } catch (error) {
        // A listing that threw has ended; the next try begins behind the last object that was seen.
        listing = undefined;
        throw error;
      }
    };
    try {
      while (true) {
        const next = await attempt("list", options, nextObject);
        if (next.done) return;
        startAfter = next.value.key;
        yield next.value;
      }
    } finally {
      await listing?.return?.();
    }
  }

  return {
    put,
    get: (key, options) => attempt("get", options, () => store.get(key, options)),
    head: (key, options) => attempt("head", options, () => store.head(key, options)),
    list,
    delete: (keys, options) => attempt("delete", options, () => store.delete(keys, options)),
    collectUnfinished: (options) => attempt("collect", options, () => store.collectUnfinished(options)),
    probe: (options) => attempt("probe", options, () => store.probe(options)),
    close: () => store.close(),
  };
}

/** The same body, and whether it can still be sent from its beginning. */
function watchReading(body: ObjectBody): { body: ObjectBody; repeatable: () => boolean } {
  if (body instanceof Uint8Array) return { body, repeatable: () => true };
  let read = false;
  const watched: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]() {
      const iterator = body[Symbol.asyncIterator]();
      return {
        next: () => {
          read = true;
          return iterator.next();
        },
        return: async () => (read ? await iterator.return?.() : undefined) ?? { done: true, value: undefined },
      };
    },
  };
  return { body: watched, repeatable: () => !read };
}
