import { RunStopped } from "@rowback/jobs";
import { type ObjectStore, StorageError } from "@rowback/storage";
import { expect, test } from "vitest";
import { workerStore } from "./worker-store.ts";

const RETRY = { attempts: 3, minDelayMs: 1, maxDelayMs: 2 };
const GUARD = { isShut: false, succeeded: () => {}, failed: () => {} };

/** A store that fails once, and during whose failure the lease is lost. */
function failingOnce(during: () => void): { bare: ObjectStore; done: string[] } {
  const done: string[] = [];
  const once = async (what: string): Promise<void> => {
    if (done.length > 0 || !failed) {
      failed = true;
      during();
      throw new StorageError("store_error", "busy");
    }
    done.push(what);
  };
  let failed = false;
  const unused = (): never => {
    throw new Error("not asked for here");
  };
  const bare: ObjectStore = {
    put: async (key, body) => {
      await once(`put ${key}`);
      return { bytes: body instanceof Uint8Array ? body.length : 0, sha256: "" };
    },
    delete: (keys) => once(`delete ${keys.join()}`),
    get: unused,
    head: unused,
    list: unused,
    collectUnfinished: unused,
    probe: unused,
    close: async () => {},
  };
  return { bare, done };
}

test("a call that waits to be tried again is not, once the lease is lost", async () => {
  const calls = [
    (store: ObjectStore) => store.delete(["part-0"]),
    (store: ObjectStore) => store.put("manifest.json", Buffer.from("{}")),
  ];
  for (const call of calls) {
    const lease = new AbortController();
    const { bare, done } = failingOnce(() => lease.abort(new RunStopped("lease_lost")));
    await expect(call(workerStore(bare, RETRY, GUARD).leased(lease))).rejects.toMatchObject({ why: "lease_lost" });
    expect(done).toEqual([]);
  }
});

test("with the lease it is, and so it is for the worker's own work", async () => {
  const lease = new AbortController();
  for (const store of ["leased", "own"]) {
    const { bare, done } = failingOnce(() => {});
    const stores = workerStore(bare, RETRY, GUARD);
    await (store === "own" ? stores.store : stores.leased(lease)).delete(["part-0"]);
    expect(done).toEqual(["delete part-0"]);
  }
});
