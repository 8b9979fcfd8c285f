import { type ObjectStore, type RetryOptions, type StoreGuard, withGuard, withRetry } from "@rowback/storage";
import { type LeaseHolder, withLease } from "./leased-store.ts";

/** The object store as a worker uses it: tried again, given a rest when it is unwell, and fenced for the runs it holds. */
export interface WorkerStore {
  /** For the worker's own work: the sweeper. */
  readonly store: ObjectStore;
  /**
   * For one attempt of a run. The lease is asked before every try: a call that waits to be tried again when its process is
   * frozen would, on waking, delete the manifest that the run's next attempt has written.
   */
  leased(holder: LeaseHolder): ObjectStore;
}

export function workerStore(bare: ObjectStore, retry: RetryOptions, guard: StoreGuard): WorkerStore {
  const robust = (store: ObjectStore): ObjectStore => withGuard(withRetry(store, retry), guard);
  return { store: robust(bare), leased: (holder) => robust(withLease(bare, holder)) };
}
