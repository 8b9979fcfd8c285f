import { StorageError } from "./errors.ts";
import { assertKey } from "./object-key.ts";
import type { ObjectInfo, ObjectStore } from "./object-store.ts";

/**
 * The part of `store` whose keys begin with `<prefix>/`, seen as a store of its own. Keys in answers and errors are without the prefix.
 *
 * @param prefix a key itself, such as `rowback/production`; a slash at its end is taken off.
 */
export function withPrefix(store: ObjectStore, prefix: string): ObjectStore {
  const inner = `${prefix.replace(/\/$/, "")}/`;
  assertKey(inner.slice(0, -1));
  const outside = (info: ObjectInfo): ObjectInfo => ({ ...info, key: info.key.slice(inner.length) });
  const inside = (key: string): string => {
    assertKey(key);
    return inner + key;
  };
  const call = async <T>(fn: () => Promise<T>): Promise<T> => {
    try {
      return await fn();
    } catch (error) {
      throw withoutPrefix(error, inner);
    }
  };
  return {
    put: (key, body, options) => call(async () => store.put(inside(key), body, options)),
    get: (key, options) => call(async () => store.get(inside(key), options)),
    head: (key, options) =>
      call(async () => {
        const info = await store.head(inside(key), options);
        return info === null ? null : outside(info);
      }),
    async *list(prefixInside, options = {}) {
      const { startAfter } = options;
      const shifted = startAfter === undefined ? options : { ...options, startAfter: inner + startAfter };
      for await (const info of store.list(inner + prefixInside, shifted)) yield outside(info);
    },
    delete: (keys, options) => call(async () => store.delete(keys.map(inside), options)),
    collectUnfinished: (options) => store.collectUnfinished(options),
    probe: (options) => store.probe(options),
    close: () => store.close(),
  };
}

function withoutPrefix(error: unknown, inner: string): unknown {
  if (!(error instanceof StorageError) || !error.key?.startsWith(inner)) return error;
  const { code, message, hint, retryable, cause } = error;
  return new StorageError(code, message, { key: error.key.slice(inner.length), hint, retryable, cause });
}
