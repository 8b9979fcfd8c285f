import { testDatabase } from "@rowback/local-services/testing";
import type { ObjectStore } from "@rowback/storage";
import { expect, onTestFinished, test } from "vitest";
import { manifestKey } from "../archive/object-keys.ts";
import { RecoveryError } from "../errors.ts";
import { backupTenant } from "./run.ts";
import { collectGarbage } from "./sweep.ts";
import { keysOf, newBackup, testContext } from "./testing/context.ts";
import { verifyBackup } from "./verify.ts";

const HOUR_MS = 3_600_000;

/** What is left of a worker that was frozen while it sent a part: that one request ends, and the lease's fence stops the next. */
function lateSender(store: ObjectStore): { store: ObjectStore; sending: Promise<void>; goOn: () => void } {
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

test("an attempt that lost its lease ends its last request after its successor's: the backup is the successor's, and the rest is collected", async () => {
  const database = await testDatabase("attempts");
  await database.pool.query(`
    CREATE TABLE tenants (id int PRIMARY KEY);
    INSERT INTO tenants VALUES (1);
    CREATE TABLE letters (id int PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, text text);
    INSERT INTO letters SELECT n, 1, 'as the first attempt saw it' FROM generate_series(1, 1000) n`);
  const ctx = await testContext(database.url);
  onTestFinished(() => ctx.source.close());
  const backup = { ...newBackup(), tenantKey: "1", tables: null };
  const late = lateSender(ctx.store);

  const first = backupTenant({ ...ctx, store: late.store }, backup);
  first.catch(() => {});
  await late.sending;
  await database.pool.query("UPDATE letters SET text = 'as the second attempt saw it, which is longer'");
  const { manifestSha256, objectCount } = await backupTenant(ctx, backup);
  late.goOn();
  await expect(first).rejects.toMatchObject({ code: "lease_lost" });

  expect(await verifyBackup(ctx, { ...backup, expectManifestSha256: manifestSha256 })).toMatchObject({
    manifestSha256,
  });
  expect((await keysOf(ctx.store)).length).toBeGreaterThan(objectCount);
  const later = { ...ctx, clock: { now: () => new Date(Date.now() + 2 * HOUR_MS) } };
  await collectGarbage(later, { graceMs: HOUR_MS, isLive: async () => false, manifestOf: async () => manifestSha256 });
  expect(await keysOf(ctx.store)).toHaveLength(objectCount);
  expect(await keysOf(ctx.store)).toContain(manifestKey(backup));
  await verifyBackup(ctx, { ...backup, expectManifestSha256: manifestSha256 });
});
