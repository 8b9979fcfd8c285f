import { expect, it } from "vitest";
import {
  keysOf,
  type MakeStore,
  MIB,
  patternBody,
  pausedBody,
  readText,
  sha256Of,
  storeForTest,
  text,
} from "./harness.ts";

/** Shorter than a part, and of several parts: on S3 these go quite different ways. */
const SIZES = [1_000, 20 * MIB];

const HOUR_MS = 3_600_000;

export function atomicityCases(makeStore: MakeStore): void {
  it.each(SIZES)("nothing of it is seen while a put of %i bytes runs", async (bytes) => {
    const { store } = await storeForTest(makeStore);
    const slow = pausedBody(Buffer.alloc(bytes, "a"), text("the end"));
    const put = store.put("slow/object", slow.body);
    await slow.paused;

    expect(await store.head("slow/object")).toBeNull();
    await expect(store.get("slow/object")).rejects.toMatchObject({ code: "object_missing" });
    expect(await keysOf(store.list(""))).toEqual([]);

    slow.finish();
    expect((await put).bytes).toBe(bytes + 7);
    expect((await store.head("slow/object"))?.bytes).toBe(bytes + 7);
  });

  it.each(SIZES)("a body that throws after %i bytes leaves nothing, and its error passes through", async (bytes) => {
    const { store, leftovers } = await storeForTest(makeStore);
    const broken = pausedBody(Buffer.alloc(bytes, "a"), text(""));
    const put = store.put("broken", broken.body);
    const thrown = new Error("the source went away");
    broken.fail(thrown);

    await expect(put).rejects.toBe(thrown);
    expect(await store.head("broken")).toBeNull();
    expect(await keysOf(store.list(""))).toEqual([]);
    expect(await leftovers()).toEqual([]);
  });

  it.each(SIZES)(
    "an overwrite keeps the old object until the new one is whole, and when it fails (%i bytes)",
    async (bytes) => {
      const { store, leftovers } = await storeForTest(makeStore);
      await store.put("object", text("old"));

      const failing = pausedBody(Buffer.alloc(bytes, "a"), text(""));
      const failed = store.put("object", failing.body);
      await failing.paused;
      expect(await readText(store, "object")).toBe("old");
      failing.fail(new Error("no"));
      await expect(failed).rejects.toThrow("no");
      expect(await readText(store, "object")).toBe("old");

      const slow = pausedBody(Buffer.alloc(bytes, "b"), text("new"));
      const put = store.put("object", slow.body);
      await slow.paused;
      expect(await readText(store, "object")).toBe("old");
      slow.finish();
      await put;
      expect(await readText(store, "object")).toBe(`${"b".repeat(bytes)}new`);
      expect(await leftovers()).toEqual([]);
    },
  );

  it("what was begun long ago and never ended is collected, and nothing that is younger", async () => {
    const { store, leftovers } = await storeForTest(makeStore);
    expect(await store.collectUnfinished({ before: new Date() })).toBe(0);
    const slow = pausedBody(Buffer.alloc(20 * MIB, "a"), text("the end"));
    const put = store.put("slow/object", slow.body);
    put.catch(() => {});
    await slow.paused;
    await expect.poll(leftovers).toHaveLength(1);

    expect(await store.collectUnfinished({ before: new Date(Date.now() - HOUR_MS) })).toBe(0);
    expect(await leftovers()).toHaveLength(1);
    expect(await store.collectUnfinished({ before: new Date(Date.now() + HOUR_MS) })).toBe(1);
    expect(await leftovers()).toEqual([]);
    slow.finish();
    await expect(put).rejects.toMatchObject({ name: "StorageError" });
    expect(await keysOf(store.list(""))).toEqual([]);
  });

  it("an open stream goes on giving the old object when it is replaced", async () => {
    const { store } = await storeForTest(makeStore);
    await store.put("object", patternBody(20 * MIB));
    const before = await sha256Of(patternBody(20 * MIB));
    const stream = await store.get("object");
    await store.put("object", text("new"));
    expect(await sha256Of(stream)).toBe(before);
    expect(await readText(store, "object")).toBe("new");
  });

  it("of concurrent puts of one key one wins, whole", async () => {
    const { store, leftovers } = await storeForTest(makeStore);
    const bodies = Array.from({ length: 8 }, (_, at) => String(at).repeat(100_000 + at));
    await Promise.all(bodies.map((body) => store.put("contested/object", text(body))));

    expect(bodies).toContain(await readText(store, "contested/object"));
    expect(await keysOf(store.list(""))).toEqual(["contested/object"]);
    expect(await leftovers()).toEqual([]);
  });

  it("concurrent puts into a folder that concurrent deletes keep emptying all stand", async () => {
    const { store } = await storeForTest(makeStore);
    const rounds = Array.from({ length: 40 }, (_, at) => at);
    const deleting = (async () => {
      for (const at of rounds) await store.delete([`shared/deep/gone-${at}`, `shared/deep/gone-${at + 1}`]);
    })();
    await Promise.all(rounds.map((at) => store.put(`shared/deep/kept-${at}`, text(`${at}`))));
    await deleting;
    expect((await keysOf(store.list("shared/"))).length).toBe(rounds.length);
  });

  it.each([10, 9 * MIB])("onlyIfAbsent stores %i bytes once", async (bytes) => {
    const { store, leftovers } = await storeForTest(makeStore);
    await store.put("once", patternBody(bytes), { onlyIfAbsent: true });

    const again = store.put("once", patternBody(bytes + 1), { onlyIfAbsent: true });

    await expect(again).rejects.toMatchObject({
      name: "StorageError",
      code: "object_exists",
      key: "once",
      retryable: false,
    });
    expect((await store.head("once"))?.bytes).toBe(bytes);
    expect(await leftovers()).toEqual([]);
  });

  it("of several onlyIfAbsent at once exactly one succeeds", async () => {
    const { store, leftovers } = await storeForTest(makeStore);
    const tries = Array.from({ length: 8 }, (_, at) => store.put("lock", text(`owner ${at}`), { onlyIfAbsent: true }));

    const outcomes = await Promise.allSettled(tries);

    const winners = outcomes.flatMap((outcome, at) => (outcome.status === "fulfilled" ? [`owner ${at}`] : []));
    expect(winners).toEqual([await readText(store, "lock")]);
    expect(await leftovers()).toEqual([]);
  });
}
