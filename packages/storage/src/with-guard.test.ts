import { Readable } from "node:stream";
import { expect, test, vi } from "vitest";
import { keysOf } from "./conformance/harness.ts";
import { StorageError } from "./errors.ts";
import type { ObjectStore } from "./object-store.ts";
import { withGuard } from "./with-guard.ts";

function guard(isShut = false) {
  return { isShut, succeeded: vi.fn(), failed: vi.fn() };
}

/** Every call of it ends like this. */
function storeThat(answer: () => Promise<never>): ObjectStore {
  return {
    put: answer,
    get: answer,
    head: answer,
    async *list() {
      yield await answer();
    },
    delete: answer,
    collectUnfinished: answer,
    probe: answer,
    close: answer,
  };
}

const CALLS: readonly [string, (store: ObjectStore) => Promise<unknown>][] = [
  ["put", (store) => store.put("a", new Uint8Array())],
  ["get", (store) => store.get("a")],
  ["head", (store) => store.head("a")],
  ["list", (store) => keysOf(store.list("a"))],
  ["delete", (store) => store.delete(["a"])],
  ["collectUnfinished", (store) => store.collectUnfinished({ before: new Date() })],
];

test.each(CALLS)("%s: only errors that speak of an unwell store count", async (_name, call) => {
  const heard: Record<string, [failures: number, successes: number]> = {};
  for (const code of ["store_unreachable", "store_error", "object_missing", "store_denied", "store_full"] as const) {
    const told = guard();
    const store = withGuard(
      storeThat(() => Promise.reject(new StorageError(code, "no"))),
      told,
    );
    await expect(call(store)).rejects.toMatchObject({ code });
    heard[code] = [told.failed.mock.calls.length, told.succeeded.mock.calls.length];
  }
  expect(heard).toEqual({
    store_unreachable: [1, 0],
    store_error: [1, 0],
    object_missing: [0, 1],
    store_denied: [0, 1],
    store_full: [0, 1],
  });
});

test.each(CALLS)("%s: what the caller threw, or an abort, says nothing", async (_name, call) => {
  const told = guard();
  await expect(
    call(
      withGuard(
        storeThat(() => Promise.reject(new Error("aborted"))),
        told,
      ),
    ),
  ).rejects.toThrow("aborted");
  expect([told.failed.mock.calls, told.succeeded.mock.calls]).toEqual([[], []]);
});

test.each(CALLS)("%s: while the guard is shut, it fails at once and the store is not asked", async (_name, call) => {
  const ask = vi.fn(() => Promise.reject(new Error("asked")));
  await expect(call(withGuard(storeThat(ask), guard(true)))).rejects.toMatchObject({
    code: "store_unreachable",
    retryable: true,
  });
  expect(ask).not.toHaveBeenCalled();
});

test("the guard's own question passes while it is shut", async () => {
  const told = guard(true);
  await expect(
    withGuard(
      storeThat(() => Promise.reject(new Error("asked"))),
      told,
    ).probe(),
  ).rejects.toThrow("asked");
});

test("a store that fails in the middle of an object has failed", async () => {
  const told = guard();
  const broken = Readable.from(
    (async function* () {
      yield Buffer.from("half");
      throw new StorageError("store_unreachable", "connection reset");
    })(),
  );
  const store = withGuard({ ...storeThat(() => Promise.reject(new Error("no"))), get: async () => broken }, told);
  await expect((await store.get("a")).toArray()).rejects.toMatchObject({ code: "store_unreachable" });
  expect(told.failed).toHaveBeenCalledTimes(1);
});
