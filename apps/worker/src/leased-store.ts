import { RunStopped } from "@rowback/jobs";
import type { ObjectStore } from "@rowback/storage";

/** Asking for the signal notices a lease that ended while nobody looked. */
export interface LeaseHolder {
  readonly signal: AbortSignal;
}

/**
 * The store as one attempt of a run may use it: nothing is published or deleted once its lease has ended. A backup keeps its manifest's key
 * over its attempts, so a worker that was frozen for a minute would, on waking, put its manifest in the place of its successor's, or delete
 * that as its own failure's clean-up.
 */
export function withLease(store: ObjectStore, holder: LeaseHolder): ObjectStore {
  const requireLease = (): void => {
    const { reason } = holder.signal;
    if (reason instanceof RunStopped && reason.why === "lease_lost") throw reason;
  };
  return {
    put: async (key, body, options) => {
      requireLease();
      return await store.put(key, body instanceof Uint8Array ? body : endingWith(body, requireLease), options);
    },
    delete: async (keys, options) => {
      requireLease();
      await store.delete(keys, options);
    },
    get: (key, options) => store.get(key, options),
    head: (key, options) => store.head(key, options),
    list: (prefix, options) => store.list(prefix, options),
    collectUnfinished: (options) => store.collectUnfinished(options),
    probe: (options) => store.probe(options),
    close: () => store.close(),
  };
}

/** An object is published when its body has ended; one that throws there is not. */
async function* endingWith(body: AsyncIterable<Uint8Array>, check: () => void): AsyncGenerator<Uint8Array> {
  yield* body;
  check();
}
