import { type TestDatabase, testDatabase } from "@rowback/local-services/testing";
import type { ObjectStore } from "@rowback/storage";
import { expect, onTestFinished, test } from "vitest";
import { manifestKey } from "../archive/object-keys.ts";
import { RecoveryError } from "../errors.ts";
import { backupTenant } from "./run.ts";
import { collectGarbage } from "./sweep.ts";
import { keysOf, newBackup, type TestContext, testContext } from "./testing/context.ts";
import { faultyStore } from "./testing/faulty-store.ts";
import { verifyBackup } from "./verify.ts";

const HOUR_MS = 3_600_000;

/** What is left of a worker that was frozen while it sent one object: that one request ends, and the lease's fence stops the next. */
function lateSender(
  store: ObjectStore,
  object: "part-" | "manifest",
): { store: ObjectStore; sending: Promise<void>; goOn: () => void } {
  const sending = Promise.withResolvers<void>();
  const thaw = Promise.withResolvers<void>();
  let lost = false;
  const fenced = (): void => {
    if (lost) throw new RecoveryError("lease_lost", "another worker has the run");
  };
  return {
    sending: sending.promise,
    goOn: thaw.resolve,
    store: {
      get: (key, options) => store.get(key, options),
      head: (key, options) => store.head(key, options),
      list: (prefix, options) => store.list(prefix, options),
      collectUnfinished: (options) => store.collectUnfinished(options),
      probe: (options) => store.probe(options),
      close: () => store.close(),
      put: async (key, body, options) => {
        fenced();
        if (!key.includes(object)) return store.put(key, body, options);
        sending.resolve();
        await thaw.promise;
        lost = true;
        return store.put(key, body, options);
      },
      delete: async (keys, options) => {
        fenced();
        await store.delete(keys, options);
      },
    },
  };
}

async function world(): Promise<{ database: TestDatabase; ctx: TestContext }> {
  const database = await testDatabase("attempts");
  await database.pool.query(`
    CREATE TABLE tenants (id int PRIMARY KEY);
    INSERT INTO tenants VALUES (1);
    CREATE TABLE letters (id int PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, text text);
    INSERT INTO letters SELECT n, 1, 'as the first attempt saw it' FROM generate_series(1, 1000) n`);
  const ctx = await testContext(database.url);
  onTestFinished(() => ctx.source.close());
  return { database, ctx };
}

test.each(["part-", "manifest"] as const)(
  "an attempt whose lease ended sends a late %s: the backup is its successor's, and the rest is collected",
  async (object) => {
    const { database, ctx } = await world();
    const backup = { ...newBackup(), tenantKey: "1", tables: null };
    const late = lateSender(ctx.store, object);

    const first = backupTenant({ ...ctx, store: late.store }, backup);
    first.catch(() => {});
    await late.sending;
    await database.pool.query("UPDATE letters SET text = 'as the second attempt saw it, which is longer'");
    const { manifestSha256, objectCount } = await backupTenant(ctx, backup);
    late.goOn();
    await expect(first).rejects.toBeInstanceOf(RecoveryError);

    expect(await verifyBackup(ctx, { ...backup, expectManifestSha256: manifestSha256 })).toMatchObject({
      manifestSha256,
    });
    expect((await keysOf(ctx.store)).length).toBeGreaterThan(objectCount);
    const later = { ...ctx, clock: { now: () => new Date(Date.now() + 2 * HOUR_MS) } };
    await collectGarbage(later, {
      graceMs: HOUR_MS,
      isLive: async () => false,
      manifestOf: async () => manifestSha256,
    });
    expect(await keysOf(ctx.store)).toHaveLength(objectCount);
    expect(await keysOf(ctx.store)).toContain(manifestKey(backup));
    await verifyBackup(ctx, { ...backup, expectManifestSha256: manifestSha256 });
  },
);

test("a manifest that an earlier attempt left makes way", async () => {
  const { ctx } = await world();
  const backup = { ...newBackup(), tenantKey: "1", tables: null };
  const first = await backupTenant(ctx, backup);
  const second = await backupTenant(ctx, backup);
  expect(second.manifestSha256).not.toBe(first.manifestSha256);
  await verifyBackup(ctx, { ...backup, expectManifestSha256: second.manifestSha256 });
});

test("an attempt that fails before its manifest takes no other's back", async () => {
  const { ctx } = await world();
  const backup = { ...newBackup(), tenantKey: "1", tables: null };
  const { manifestSha256 } = await backupTenant(ctx, backup);
  const store = faultyStore(ctx.store, () => "before");
  await expect(backupTenant({ ...ctx, store }, backup)).rejects.toMatchObject({ code: "store_unreachable" });
  await verifyBackup(ctx, { ...backup, expectManifestSha256: manifestSha256 });
});
