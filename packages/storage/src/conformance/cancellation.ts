import { expect, it } from "vitest";
import { keysOf, type MakeStore, MIB, patternBody, readText, storeForTest, text } from "./harness.ts";

/** A store that waits for the rest of a hung body, or for a part's time limit, takes far longer. */
const AT_ONCE_MS = 5_000;

export function cancellationCases(makeStore: MakeStore): void {
  const reason = new Error("the user changed his mind");

  it.each([0, 1_000, 9 * MIB, 20 * MIB])(
    "an aborted put leaves nothing, though its body hangs after %i bytes",
    async (bytes) => {
      const { store, leftovers } = await storeForTest(makeStore);
      const controller = new AbortController();
      const hanging = Promise.withResolvers<void>();
      async function* body(): AsyncGenerator<Uint8Array> {
        yield* patternBody(bytes);
        hanging.resolve();
        await new Promise(() => {});
      }
      const put = store.put("aborted", body(), { signal: controller.signal });
      await hanging.promise;
      const from = Date.now();
      controller.abort(reason);

      await expect(put).rejects.toBe(reason);
      expect(Date.now() - from).toBeLessThan(AT_ONCE_MS);
      expect(await keysOf(store.list(""))).toEqual([]);
      expect(await leftovers()).toEqual([]);
    },
  );

  it("an aborted put keeps the old object and tells its body", async () => {
    const { store } = await storeForTest(makeStore);
    await store.put("object", text("old"));
    const controller = new AbortController();
    let told = false;
    async function* body(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) {
          yield* patternBody(MIB);
          if (!controller.signal.aborted) controller.abort(reason);
        }
      } finally {
        told = true;
      }
    }
    await expect(store.put("object", body(), { signal: controller.signal })).rejects.toBe(reason);
    await expect.poll(() => told).toBe(true);
    expect(await readText(store, "object")).toBe("old");
  });

  it("refuses to begin under a signal that has aborted", async () => {
    const { store } = await storeForTest(makeStore);
    await store.put("object", text("old"));
    const signal = AbortSignal.abort(reason);

    await expect(store.put("object", text("new"), { signal })).rejects.toBe(reason);
    await expect(store.get("object", { signal })).rejects.toBe(reason);
    await expect(store.head("object", { signal })).rejects.toBe(reason);
    await expect(store.delete(["object"], { signal })).rejects.toBe(reason);
    await expect(store.probe({ signal })).rejects.toBe(reason);
    await expect(keysOf(store.list("", { signal }))).rejects.toBe(reason);
    expect(await readText(store, "object")).toBe("old");
  });

  it("an abort ends a stream with an error, read or not", async () => {
    const { store } = await storeForTest(makeStore);
    await store.put("large", patternBody(20 * MIB));
    const controller = new AbortController();
    const stream = await store.get("large", { signal: controller.signal });
    let bytes = 0;
    const reading = (async () => {
      for await (const chunk of stream) {
        bytes += chunk.length;
        if (bytes > MIB) controller.abort(reason);
      }
    })();
    await expect(reading).rejects.toBe(reason);
    expect(bytes).toBeLessThan(20 * MIB);

    const second = new AbortController();
    const unread = await store.get("large", { signal: second.signal });
    second.abort(reason);
    await expect.poll(() => unread.destroyed).toBe(true);
  });

  it("a stream may be left early", async () => {
    const { store } = await storeForTest(makeStore);
    await store.put("large", patternBody(20 * MIB));
    for (let at = 0; at < 3; at++) for await (const _chunk of await store.get("large")) break;
    (await store.get("large")).destroy();
    await store.delete(["large"]);
  });

  it("an abort ends a listing", async () => {
    const { store } = await storeForTest(makeStore);
    for (const key of ["a", "b", "c"]) await store.put(key, text(key));
    const controller = new AbortController();
    const seen: string[] = [];
    const listing = (async () => {
      for await (const { key } of store.list("", { signal: controller.signal })) {
        seen.push(key);
        controller.abort(reason);
      }
    })();
    await expect(listing).rejects.toBe(reason);
    expect(seen).toEqual(["a"]);
  });

  it("a signal used for many calls is left without listeners", async () => {
    const { store } = await storeForTest(makeStore);
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    await store.put("object", patternBody(9 * MIB), { signal });
    for await (const _chunk of await store.get("object", { signal })) void _chunk;
    await store.head("object", { signal });
    await keysOf(store.list("", { signal }));
    await store.delete(["object"], { signal });
    await expect.poll(() => listeners).toBe(0);
  });
}
