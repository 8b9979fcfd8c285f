import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import {
  keysOf,
  type MakeStore,
  MIB,
  patternBody,
  readAll,
  readText,
  sha256Of,
  storeForTest,
  text,
} from "./harness.ts";

/** 256 MiB pass; a store that buffers them can't hide below this. Parts in flight, their copies in the socket and collector slack can. */
const FLAT_MEMORY = 128 * MIB;

const SLOW_MACHINE_MS = 180_000;

export function roundTripCases(makeStore: MakeStore): void {
  const sizes = [0, 1, 65_536, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 20 * MIB];
  it.each(sizes)("a stream of %i bytes, of unknown length", async (bytes) => {
    const { store, leftovers } = await storeForTest(makeStore);
    const sha256 = await sha256Of(patternBody(bytes));

    expect(await store.put("folder/object", patternBody(bytes))).toEqual({ bytes, sha256 });

    expect(await sha256Of(await store.get("folder/object"))).toBe(sha256);
    expect((await store.head("folder/object"))?.bytes).toBe(bytes);
    expect(await leftovers()).toEqual([]);
  });

  it.each([0, 1, 20 * MIB])("a Uint8Array of %i bytes", async (bytes) => {
    const { store } = await storeForTest(makeStore);
    const body = Buffer.alloc(bytes, "rowback!");
    const sha256 = createHash("sha256").update(body).digest("hex");

    expect(await store.put("object", body)).toEqual({ bytes, sha256 });

    expect(body.equals(await readAll(store, "object"))).toBe(true);
  });

  it("empty chunks and a stream of single bytes", async () => {
    const { store } = await storeForTest(makeStore);
    async function* body(): AsyncGenerator<Uint8Array> {
      yield text("");
      for (const letter of "letter by letter") yield text(letter);
      yield text("");
    }
    await store.put("object", body());
    expect(await readText(store, "object")).toBe("letter by letter");
  });

  it("an object's key, size and time by head, and null where there is none", async () => {
    const { store } = await storeForTest(makeStore);
    const before = Date.now();
    await store.put("a/b", text("12345"));

    const info = await store.head("a/b");

    expect(info).toMatchObject({ key: "a/b", bytes: 5 });
    // S3 tells whole seconds.
    expect(Math.abs((info?.modifiedAt.getTime() ?? 0) - before)).toBeLessThan(10_000);
    expect(await store.head("a/missing")).toBeNull();
    expect(await store.head("missing/folder/object")).toBeNull();
    expect(await store.head("a")).toBeNull();
  });

  it("ranges, cut at the object's end", async () => {
    const { store } = await storeForTest(makeStore);
    await store.put("digits", text("0123456789"));
    const range = async (offset: number, length: number) =>
      (await readAll(store, "digits", { offset, length })).toString();

    expect(await range(0, 10)).toBe("0123456789");
    expect(await range(0, 1)).toBe("0");
    expect(await range(3, 4)).toBe("3456");
    expect(await range(9, 1)).toBe("9");
    expect(await range(8, 100)).toBe("89");
    expect(await range(3, 0)).toBe("");
    expect(await range(10, 5)).toBe("");
    expect(await range(1000, 5)).toBe("");
    await expect(range(-1, 5)).rejects.toMatchObject({ name: "StorageError", retryable: false });
    await expect(range(0.5, 5)).rejects.toMatchObject({ name: "StorageError", retryable: false });
  });

  it("a range inside a large object, and of an empty one", async () => {
    const { store } = await storeForTest(makeStore);
    await store.put("large", patternBody(20 * MIB));
    await store.put("empty", text(""));
    const whole = await readAll(store, "large");

    const part = await readAll(store, "large", { offset: 8 * MIB - 3, length: 9 * MIB });

    expect(part.equals(whole.subarray(8 * MIB - 3, 17 * MIB - 3))).toBe(true);
    expect((await readAll(store, "empty", { offset: 0, length: 10 })).byteLength).toBe(0);
    expect((await readAll(store, "empty")).byteLength).toBe(0);
  });

  it("object_missing where there is none", async () => {
    const { store } = await storeForTest(makeStore);
    await store.put("folder/object", text("x"));
    const missing = { name: "StorageError", code: "object_missing", retryable: false };

    await expect(store.get("folder/other")).rejects.toMatchObject({ ...missing, key: "folder/other" });
    await expect(store.get("no/such/folder")).rejects.toMatchObject(missing);
    await expect(store.get("folder")).rejects.toMatchObject(missing);
    await expect(store.get("folder/other", { range: { offset: 0, length: 5 } })).rejects.toMatchObject(missing);
    await expect(store.get("folder/other", { range: { offset: 0, length: 0 } })).rejects.toMatchObject(missing);
  });

  it(
    "256 MiB in and out, in flat memory",
    async () => {
      const { store } = await storeForTest(makeStore);
      const bytes = 256 * MIB;
      await store.put("warm-up", patternBody(20 * MIB));
      const before = process.memoryUsage().rss;
      let highest = before;
      const watch = (): void => {
        highest = Math.max(highest, process.memoryUsage.rss());
      };

      const stored = await store.put("huge", patternBody(bytes, watch));
      const hash = createHash("sha256");
      for await (const chunk of await store.get("huge")) {
        hash.update(chunk);
        watch();
      }

      expect(hash.digest("hex")).toBe(stored.sha256);
      expect(stored.bytes).toBe(bytes);
      expect((highest - before) / MIB).toBeLessThan(FLAT_MEMORY / MIB);
    },
    SLOW_MACHINE_MS,
  );

  it("a probe, which leaves nothing", async () => {
    const { store, leftovers } = await storeForTest(makeStore);
    await store.probe();
    expect(await keysOf(store.list(""))).toEqual([]);
    expect(await leftovers()).toEqual([]);
  });
}
