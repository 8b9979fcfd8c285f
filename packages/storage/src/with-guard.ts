import { finished } from "node:stream";
import { StorageError, type StorageErrorCode } from "./errors.ts";
import type { ListOptions, ObjectInfo, ObjectStore } from "./object-store.ts";

/** What a circuit breaker is to a store: told how each call went, and asked before each whether it makes sense. */
export interface StoreGuard {
  /** The store is known to be unwell: don't ask it. */
  readonly isShut: boolean;
  /** It answered, if only to refuse. */
  succeeded(): void;
  /** It did not answer, or said that it can't. */
  failed(): void;
}

/** What the caller did wrong, or what simply is not there, says nothing of the store; a full one is its owner's to empty. */
const UNWELL: ReadonlySet<StorageErrorCode> = new Set(["store_unreachable", "store_error"]);

/**
 * The store, asked only while its guard lets it: else every call fails at once with `store_unreachable`. Put it around
 * `withRetry`, so that a call counts once, however often it was tried. `probe` and `close` pass: the guard itself asks so.
 */
export function withGuard(store: ObjectStore, guard: StoreGuard): ObjectStore {
  const tell = (error: unknown): void => {
    if (!(error instanceof StorageError)) return;
    if (UNWELL.has(error.code)) guard.failed();
    else guard.succeeded();
  };
  const letThrough = (): void => {
    if (!guard.isShut) return;
    throw new StorageError("store_unreachable", "The object store failed again and again; it is given a rest.", {
      hint: "Look at the store; it is asked again by itself within a minute or so.",
    });
  };
  const call = async <T>(fn: () => Promise<T>): Promise<T> => {
    letThrough();
    try {
      const answer = await fn();
      guard.succeeded();
      return answer;
    } catch (error) {
      tell(error);
      throw error;
    }
  };
  return {
    put: (key, body, options) => call(() => store.put(key, body, options)),
    get: async (key, options) => {
      const stream = await call(() => store.get(key, options));
      finished(stream, { writable: false }, (error) => tell(error));
      return stream;
    },
    head: (key, options) => call(() => store.head(key, options)),
    async *list(prefix: string, options?: ListOptions): AsyncGenerator<ObjectInfo> {
      letThrough();
      try {
        yield* store.list(prefix, options);
        guard.succeeded();
      } catch (error) {
        tell(error);
        throw error;
      }
    },
    delete: (keys, options) => call(() => store.delete(keys, options)),
    collectUnfinished: (options) => call(() => store.collectUnfinished(options)),
    probe: (options) => store.probe(options),
    close: () => store.close(),
  };
}
