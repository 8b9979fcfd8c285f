import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { keysOf, readText, text } from "./conformance/harness.ts";
import { openFilesystemStore } from "./drivers/filesystem.ts";
import { StorageError } from "./errors.ts";
import type { ObjectStore } from "./object-store.ts";
import { withPrefix } from "./with-prefix.ts";
import { type Retry, withRetry } from "./with-retry.ts";

async function folderStore(): Promise<ObjectStore> {
  const root = await mkdtemp(join(tmpdir(), "rowback-decorators-"));
  onTestFinished(() => rm(root, { recursive: true }));
  return openFilesystemStore({ root });
}

/** The store, whose next `failures` calls fail: before they do anything. */
function failing(store: ObjectStore, failures: number, error: Error): ObjectStore & { readonly calls: number } {
  let calls = 0;
  const fault = (): void => {
    calls++;
    if (calls <= failures) throw error;
  };
  return {
    get calls() {
      return calls;
    },
    async put(...args) {
      fault();
      return store.put(...args);
    },
    async get(...args) {
      fault();
      return store.get(...args);
    },
    async head(...args) {
      fault();
      return store.head(...args);
    },
    async *list(prefix, options) {
      let seen = 0;
      for await (const info of store.list(prefix, options)) {
        if (seen++ === 2) fault();
        yield info;
      }
    },
    async delete(...args) {
      fault();
      return store.delete(...args);
    },
    async collectUnfinished(...args) {
      fault();
      return store.collectUnfinished(...args);
    },
    async probe(...args) {
      fault();
      return store.probe(...args);
    },
    close: () => store.close(),
  };
}

const DOWN = new StorageError("store_unreachable", "down");
const FAST = { attempts: 3, minDelayMs: 1, maxDelayMs: 4 };

describe("withRetry", () => {
  it("tries again what may succeed the next time, and says so", async () => {
    const store = await folderStore();
    const retries: Retry[] = [];
    const again = (failures: number) =>
      withRetry(failing(store, failures, DOWN), { ...FAST, onRetry: (retry) => retries.push(retry) });

    await again(2).put("object", text("hello"));
    expect(await readText(again(2), "object")).toBe("hello");
    expect((await again(2).head("object"))?.bytes).toBe(5);
    await again(2).collectUnfinished({ before: new Date() });
    await again(2).probe();
    await again(2).delete(["object"]);

    expect(retries.map(({ operation, attempt }) => `${operation} ${attempt}`)).toEqual(
      ["put", "get", "head", "collect", "probe", "delete"].flatMap((operation) => [`${operation} 1`, `${operation} 2`]),
    );
    for (const { delayMs } of retries) expect(delayMs).toBeLessThanOrEqual(FAST.maxDelayMs);
  });

  it("gives up after its last try, with the last error", async () => {
    const store = failing(await folderStore(), 99, DOWN);
    await expect(withRetry(store, FAST).head("object")).rejects.toBe(DOWN);
    expect(store.calls).toBe(3);
  });

  it.each(["object_missing", "invalid_key", "store_denied", "object_exists"] as const)(
    "does not try again after %s",
    async (code) => {
      const store = failing(await folderStore(), 99, new StorageError(code, "no"));
      await expect(withRetry(store, FAST).get("object")).rejects.toMatchObject({ code });
      expect(store.calls).toBe(1);
    },
  );

  it("never sends the rest of a stream that was read from as if it were the whole", async () => {
    const store = await folderStore();
    let puts = 0;
    const breaksMidway: ObjectStore = {
      ...failing(store, 0, DOWN),
      async put(_key, body) {
        puts++;
        if (!(body instanceof Uint8Array)) await body[Symbol.asyncIterator]().next();
        throw DOWN;
      },
    };
    async function* body(): AsyncGenerator<Uint8Array> {
      yield text("first ");
      yield text("second");
    }
    await expect(withRetry(breaksMidway, FAST).put("object", body())).rejects.toBe(DOWN);
    expect(puts).toBe(1);
    await expect(withRetry(breaksMidway, FAST).put("object", text("bytes"))).rejects.toBe(DOWN);
    expect(puts).toBe(4);
  });

  it("sends a stream again that was not read from", async () => {
    const store = await folderStore();
    async function* body(): AsyncGenerator<Uint8Array> {
      yield text("whole");
    }
    await withRetry(failing(store, 2, DOWN), FAST).put("object", body());
    expect(await readText(store, "object")).toBe("whole");
  });

  it("tries onlyIfAbsent once: the object it would meet might be its own", async () => {
    const store = failing(await folderStore(), 1, DOWN);
    await expect(withRetry(store, FAST).put("lock", text("me"), { onlyIfAbsent: true })).rejects.toBe(DOWN);
    expect(store.calls).toBe(1);
  });

  it("goes on with a listing where it broke off: each object once", async () => {
    const store = await folderStore();
    const keys = ["a", "b", "c", "d", "e", "f"];
    for (const key of keys) await store.put(key, text(key));

    expect(await keysOf(withRetry(failing(store, 2, DOWN), FAST).list(""))).toEqual(keys);
  });

  it("stops waiting when told", async () => {
    const controller = new AbortController();
    const reason = new Error("enough");
    const patient = { attempts: 5, minDelayMs: 60_000, maxDelayMs: 60_000, onRetry: () => controller.abort(reason) };
    const store = withRetry(failing(await folderStore(), 99, DOWN), patient);
    await expect(store.head("object", { signal: controller.signal })).rejects.toBe(reason);
  });
});

describe("withPrefix", () => {
  it("is a store of its own: nothing outside is seen, and keys are without the prefix", async () => {
    const whole = await folderStore();
    await whole.put("other/1", text("not mine"));
    await whole.put("mine-not/1", text("not mine"));
    const mine = withPrefix(whole, "mine");
    await mine.put("a/1", text("1"));
    await mine.put("a/2", text("2"));

    expect(await keysOf(mine.list(""))).toEqual(["a/1", "a/2"]);
    expect(await keysOf(mine.list("a/", { startAfter: "a/1" }))).toEqual(["a/2"]);
    expect(await mine.head("a/1")).toMatchObject({ key: "a/1", bytes: 1 });
    expect(await readText(whole, "mine/a/1")).toBe("1");
    await mine.delete(["a/1"]);
    expect(await keysOf(whole.list(""))).toEqual(["mine-not/1", "mine/a/2", "other/1"]);
  });

  it("can't be left, and its errors name its own keys", async () => {
    const mine = withPrefix(await folderStore(), "deep/mine/");
    for (const key of ["../other/1", "", "/", ".."]) {
      await expect(mine.get(key)).rejects.toMatchObject({ code: "invalid_key" });
      await expect(mine.put(key, text("x"))).rejects.toMatchObject({ code: "invalid_key" });
    }
    await expect(keysOf(mine.list("../"))).rejects.toMatchObject({ code: "invalid_key" });
    await expect(mine.get("missing")).rejects.toMatchObject({ code: "object_missing", key: "missing" });
    await expect((async () => withPrefix(mine, "../up"))()).rejects.toMatchObject({ code: "invalid_key" });
  });
});
