import { type ObjectBody, type ObjectStore, type PutOptions, StorageError, type StoredObject } from "@rowback/storage";

/**
 * How a put fails: `before` anything was sent, `midway` through the body, or `unanswered`: the object stands, but the store's
 * answer was lost.
 */
export type PutFault = "before" | "midway" | "unanswered";

/** Passes everything on, but the puts that `faultOf` names fail. */
export function faultyStore(store: ObjectStore, faultOf: (key: string, put: number) => PutFault | null): ObjectStore {
  let puts = 0;
  return {
    ...passOn(store),
    async put(key: string, body: ObjectBody, options?: PutOptions): Promise<StoredObject> {
      puts += 1;
      const fault = faultOf(key, puts);
      if (fault === "before") throw lost(key);
      if (fault === "midway") return store.put(key, interrupted(key, body), options);
      const stored = await store.put(key, body, options);
      if (fault === "unanswered") throw lost(key);
      return stored;
    },
  };
}

/** Calls `onPut` when a put begins, before anything is sent. */
export function watchedStore(store: ObjectStore, onPut: (key: string) => void | Promise<void>): ObjectStore {
  return {
    ...passOn(store),
    async put(key: string, body: ObjectBody, options?: PutOptions): Promise<StoredObject> {
      await onPut(key);
      return store.put(key, body, options);
    },
  };
}

function passOn(store: ObjectStore): ObjectStore {
  return {
    put: (key, body, options) => store.put(key, body, options),
    get: (key, options) => store.get(key, options),
    head: (key, options) => store.head(key, options),
    list: (prefix, options) => store.list(prefix, options),
    delete: (keys, options) => store.delete(keys, options),
    collectUnfinished: (options) => store.collectUnfinished(options),
    probe: (options) => store.probe(options),
    close: () => store.close(),
  };
}

async function* interrupted(key: string, body: ObjectBody): AsyncGenerator<Uint8Array> {
  if (body instanceof Uint8Array) {
    yield body.subarray(0, body.length / 2);
  } else {
    for await (const piece of body) {
      yield piece;
      break;
    }
  }
  throw lost(key);
}

function lost(key: string): StorageError {
  return new StorageError("store_unreachable", "the store went away", { key });
}
