import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { MemoryStore } from "../archive/testing/memory-store.ts";
import { purgeTenant } from "./purge.ts";

const { signal } = new AbortController();
const [tenantId, otherTenantId] = ["11111111-1111-4111-8111-111111111111", "11111111-1111-4111-8111-11111111111a"];

async function fill(store: MemoryStore, tenant: string, backups: number): Promise<void> {
  for (let backup = 0; backup < backups; backup += 1) {
    const prefix = `tenants/${tenant}/backups/${randomUUID()}/`;
    for (const name of ["manifest.json", "part-0", "part-1"]) await store.put(prefix + name, Buffer.alloc(10));
  }
  await store.put(`tenants/${tenant}/something-of-a-later-version`, Buffer.alloc(10));
}

test("everything of the tenant goes, more than one batch, and nothing of another", async () => {
  const store = new MemoryStore();
  await fill(store, tenantId, 300);
  await fill(store, otherTenantId, 2);
  await store.put("sources/x", Buffer.alloc(1));
  expect(await purgeTenant({ store, signal }, tenantId)).toEqual({ objects: 901, bytes: 9_010 });
  expect([...store.objects.keys()].filter((key) => key.includes(tenantId))).toEqual([]);
  expect(store.objects.size).toBe(8);
  expect(await purgeTenant({ store, signal }, tenantId)).toEqual({ objects: 0, bytes: 0 });
});

test("a crash in between leaves no backup that misses parts", async () => {
  const store = new MemoryStore();
  await fill(store, tenantId, 4);
  const remove = store.delete.bind(store);
  let calls = 0;
  store.delete = async (keys) => {
    await remove(keys);
    calls += 1;
    if (calls === 1) throw new Error("the worker dies");
  };
  await expect(purgeTenant({ store, signal }, tenantId)).rejects.toThrow();
  const left = [...store.objects.keys()];
  expect(left.some((key) => key.endsWith("part-0"))).toBe(true);
  expect(left.filter((key) => key.endsWith("manifest.json"))).toEqual([]);
  expect((await purgeTenant({ store, signal }, tenantId)).objects).toBe(9);
});
