import { StorageError } from "@rowback/storage";
import { expect, test, vi } from "vitest";
import { PartWriter } from "./part-writer.ts";
import { MemoryStore } from "./testing/memory-store.ts";

const MEBIBYTE = 1_048_576;
const signal = new AbortController().signal;

test("a small part is put in one piece, at the end", async () => {
  const store = new MemoryStore();
  const put = vi.spyOn(store, "put");
  const part = new PartWriter(store, "part", signal);
  await part.write(Buffer.from("one "));
  await part.write(Buffer.from("two"));
  expect(put).not.toHaveBeenCalled();
  expect(await part.finish()).toMatchObject({ bytes: 7 });
  expect(put.mock.calls[0]?.[1]).toBeInstanceOf(Uint8Array);
  expect(store.objects.get("part")?.bytes.toString()).toBe("one two");
});

test("a slow store holds the writer back: what waits stays small", async () => {
  const store = new MemoryStore();
  const gate = Promise.withResolvers<void>();
  let taken = 0;
  store.put = async (_key, body) => {
    for await (const piece of body instanceof Uint8Array ? [] : body) {
      taken += piece.length;
      if (taken > 6 * MEBIBYTE) await gate.promise;
    }
    return { bytes: taken, sha256: "" };
  };
  const part = new PartWriter(store, "part", signal);
  let written = 0;
  const writing = (async () => {
    for (; written < 64; written += 1) await part.write(Buffer.alloc(MEBIBYTE));
  })();
  await vi.waitFor(() => expect(taken).toBeGreaterThan(6 * MEBIBYTE));
  await new Promise((resolve) => setImmediate(resolve));
  expect(written).toBeLessThan(12);
  gate.resolve();
  await writing;
  expect(await part.finish()).toMatchObject({ bytes: 64 * MEBIBYTE });
});

test("a failed upload rejects the writer, also one that waits for room", async () => {
  const store = new MemoryStore();
  store.put = async (_key, body) => {
    for await (const _piece of body instanceof Uint8Array ? [] : body) break;
    throw new StorageError("store_full", "no space left");
  };
  const part = new PartWriter(store, "part", signal);
  const writing = (async () => {
    for (let piece = 0; piece < 64; piece += 1) await part.write(Buffer.alloc(MEBIBYTE));
    await part.finish();
  })();
  await expect(writing).rejects.toMatchObject({ code: "store_full" });
});

test("after an abort nothing is visible", async () => {
  const store = new MemoryStore();
  const part = new PartWriter(store, "part", signal);
  for (let piece = 0; piece < 6; piece += 1) await part.write(Buffer.alloc(MEBIBYTE));
  await part.abort(new Error("cancelled"));
  expect(store.objects.size).toBe(0);
  await expect(part.write(Buffer.alloc(1))).rejects.toThrow("cancelled");
});
