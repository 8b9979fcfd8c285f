import { expect, test } from "vitest";
import { manifestKey, partKey } from "../archive/object-keys.ts";
import { MemoryStore } from "../archive/testing/memory-store.ts";
import { BACKUP, writeTestBackup } from "../archive/testing/written-backup.ts";
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
  await store.put(partKey(BROKEN, 0), Buffer.from("half"));
  await store.put("tenants/foreign/object", Buffer.from("not ours"));
  expect(await sweep(store, { isLive: async (id) => id.backupId === BROKEN.backupId })).toMatchObject({ backups: 0 });
  expect(await sweep(store, { graceMs: 3 * HOUR })).toMatchObject({ backups: 0 });
  expect(await sweep(store)).toEqual({ backups: 1, objects: 1, bytes: 4 });
  expect([...store.objects.keys()].toSorted()).toEqual([
    manifestKey(BACKUP),
    partKey(BACKUP, 0),
    "tenants/foreign/object",
  ]);
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
  await deleteBackup(store, BACKUP);
  expect(calls).toEqual([[manifestKey(BACKUP)], [partKey(BACKUP, 0)]]);
  await deleteBackup(store, BACKUP);
  expect(store.objects.size).toBe(0);
});
