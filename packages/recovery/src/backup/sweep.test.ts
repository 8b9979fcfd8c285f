import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { manifestKey, partKey } from "../archive/object-keys.ts";
import type { SealKey } from "../archive/sealed-block.ts";
import { MemoryStore } from "../archive/testing/memory-store.ts";
import { testKey } from "../archive/testing/test-keys.ts";
import { BACKUP, partKeysOf, writeTestBackup } from "../archive/testing/written-backup.ts";
import { deleteBackup } from "./delete.ts";
import { collectGarbage, type SweepOptions } from "./sweep.ts";

const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const BROKEN = { ...BACKUP, backupId: "55555555-5555-4555-8555-555555555555" };
const HOUR = 3_600_000;

function sweep(store: MemoryStore, options: Partial<SweepOptions> = {}): ReturnType<typeof collectGarbage> {
  const clock = { now: () => new Date(Date.now() + 2 * HOUR) };
  const ctx = { store, clock, log, signal: new AbortController().signal };
  return collectGarbage(ctx, { graceMs: HOUR, isLive: async () => false, ...options });
}

test("parts without a manifest are collected when old and not live; nothing else is touched", async () => {
  const store = new MemoryStore();
  await writeTestBackup(store, { t: [Buffer.from("row")] });
  await store.put(partKey(BROKEN, 0, "0".repeat(32)), Buffer.from("half"));
  await store.put("tenants/foreign/object", Buffer.from("not ours"));
  expect(await sweep(store, { isLive: async (id) => id.backupId === BROKEN.backupId })).toMatchObject({ backups: 0 });
  expect(await sweep(store, { graceMs: 3 * HOUR })).toMatchObject({ backups: 0 });
  expect(await sweep(store)).toEqual({ backups: 1, objects: 1, bytes: 4 });
  expect([...store.objects.keys()].toSorted()).toEqual([
    manifestKey(BACKUP),
    ...partKeysOf(store),
    "tenants/foreign/object",
  ]);
});

test("a backup whose run ends well between the listing and the question whether it is live stays", async () => {
  const store = new MemoryStore();
  await writeTestBackup(store, { t: [Buffer.from("row")] });
  const manifest = store.objects.get(manifestKey(BACKUP));
  store.objects.delete(manifestKey(BACKUP));
  const isLive = async (): Promise<boolean> => {
    if (manifest !== undefined) store.objects.set(manifestKey(BACKUP), manifest);
    return false;
  };
  expect(await sweep(store, { isLive })).toEqual({ backups: 0, objects: 0, bytes: 0 });
  expect(store.objects.size).toBe(2);
});

test("a manifest whose run is known to have failed is collected too; an unknown run's is not", async () => {
  const store = new MemoryStore();
  await writeTestBackup(store, { t: [Buffer.from("row")] });
  expect(await sweep(store, { hasFailed: async () => false })).toMatchObject({ backups: 0 });
  expect(await sweep(store, { hasFailed: async () => true })).toMatchObject({ backups: 1, objects: 2 });
  expect(store.objects.size).toBe(0);
});

test("deletion takes the manifest first, in a call of its own, and can be done twice", async () => {
  const store = new MemoryStore();
  await writeTestBackup(store, { t: [Buffer.from("row")] });
  const calls: string[][] = [];
  const remove = store.delete.bind(store);
  store.delete = async (keys) => {
    calls.push([...keys]);
    await remove(keys);
  };
  const parts = partKeysOf(store);
  await deleteBackup(store, BACKUP);
  expect(calls).toEqual([[manifestKey(BACKUP)], parts]);
  await deleteBackup(store, BACKUP);
  expect(store.objects.size).toBe(0);
});

describe("what an attempt that lost left beside the backup of the one that won", () => {
  const rows = { t: [Buffer.from("row")] };
  async function twice(key: SealKey | null = null): Promise<{ store: MemoryStore; won: string[]; sha256: string }> {
    const store = new MemoryStore();
    await writeTestBackup(store, rows, undefined, { key });
    const { writer } = await writeTestBackup(store, rows, undefined, { key });
    const manifest = store.objects.get(manifestKey(BACKUP))?.bytes ?? Buffer.alloc(0);
    return {
      store,
      won: [manifestKey(BACKUP), ...partKeysOf(store, BACKUP, writer)],
      sha256: createHash("sha256").update(manifest).digest("hex"),
    };
  }

  test.each(["in clear", "encrypted"])("is collected, and the backup stays whole: %s", async (how) => {
    const { store, won, sha256 } = await twice(how === "encrypted" ? testKey() : null);
    expect(store.objects.size).toBe(3);
    const manifestOf = async (): Promise<string> => sha256;
    expect(await sweep(store, { manifestOf, isLive: async () => true })).toMatchObject({ objects: 0 });
    expect(await sweep(store, { manifestOf, graceMs: 3 * HOUR })).toMatchObject({ objects: 0 });
    expect(await sweep(store, { manifestOf })).toMatchObject({ backups: 0, objects: 1 });
    expect([...store.objects.keys()].toSorted()).toEqual(won);
    expect(await sweep(store, { manifestOf })).toMatchObject({ backups: 0, objects: 0 });
  });

  test("stays where the manifest is not known to be the one that won", async () => {
    const { store } = await twice();
    for (const manifestOf of [undefined, async () => null, async () => "0".repeat(64)])
      expect(await sweep(store, { manifestOf })).toEqual({ backups: 0, objects: 0, bytes: 0 });
    expect(store.objects.size).toBe(3);
  });

  test("is told from parts that have no attempt's name, of before there were any", async () => {
    const { store, won, sha256 } = await twice();
    await store.put(partKey(BACKUP, 0, undefined), Buffer.from("older"));
    expect(await sweep(store, { manifestOf: async () => sha256 })).toMatchObject({ objects: 2 });
    expect([...store.objects.keys()].toSorted()).toEqual(won);
  });
});
