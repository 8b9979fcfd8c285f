import { testDatabase } from "@rowback/local-services/testing";
import { beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { openBackup } from "../archive/backup-reader.ts";
import { LaneWriter } from "../archive/lane-writer.ts";
import { backupTenant } from "./run.ts";
import { collectGarbage } from "./sweep.ts";
import { keysOf, newBackup, type TestContext, testContext } from "./testing/context.ts";
import { faultyStore, type PutFault, watchedStore } from "./testing/faulty-store.ts";
import { verifyBackup } from "./verify.ts";

let database: Awaited<ReturnType<typeof testDatabase>>;
beforeAll(async () => {
  database = await testDatabase("crash");
  await database.pool.query(`
    CREATE TABLE tenants (id int PRIMARY KEY);
    INSERT INTO tenants VALUES (1);
    CREATE TABLE letters (id bigserial PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, filler bytea);
    CREATE TABLE parcels (id bigserial PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, filler bytea);
    INSERT INTO letters (tenant_id, filler) SELECT 1, sha512(n::text::bytea) || sha512((-n)::text::bytea) FROM generate_series(1, 40000) n;
    INSERT INTO parcels (tenant_id, filler) SELECT 1, sha512(n::text::bytea) || sha512((-n)::text::bytea) FROM generate_series(1, 40000) n;
    ANALYZE`);
});

async function context(): Promise<TestContext> {
  const ctx = await testContext(database.url);
  onTestFinished(() => ctx.source.close());
  return ctx;
}

const request = { tenantKey: "1", tables: null, connections: 2 };

test.for(["before", "midway", "unanswered"] satisfies PutFault[])(
  "a put that fails %s: no manifest, nothing left, and the next attempt succeeds",
  async (fault) => {
    const ctx = await context();
    // There are two parts, of which each fails once; and the manifest, which is tried again, and fails again.
    for (const failing of [1, 2, 3]) {
      const backup = newBackup();
      const store = faultyStore(ctx.store, (_key, put) => {
        if (put === failing) return fault;
        return put > 3 ? "before" : null;
      });
      await expect(backupTenant({ ...ctx, store }, { ...backup, ...request })).rejects.toMatchObject({
        code: "store_unreachable",
        retryable: true,
      });
      expect(await keysOf(ctx.store)).toEqual([]);
      await backupTenant(ctx, { ...backup, ...request });
      await verifyBackup(ctx, backup);
      for (const key of await keysOf(ctx.store)) await ctx.store.delete([key]);
    }
  },
);

test.for(["before", "unanswered"] satisfies PutFault[])(
  "a manifest whose put fails %s is put again, and costs no attempt",
  async (fault) => {
    const ctx = await context();
    const backup = newBackup();
    const store = faultyStore(ctx.store, (_key, put) => (put === 3 ? fault : null));
    const { manifestSha256 } = await backupTenant({ ...ctx, store }, { ...backup, ...request });
    await verifyBackup(ctx, { ...backup, expectManifestSha256: manifestSha256 });
  },
);

test("the manifest is put when every part is there, and nothing after it", async () => {
  const ctx = await context();
  const puts: string[] = [];
  const store = watchedStore(ctx.store, async (key) => {
    const parts = puts.filter((put) => !put.endsWith("manifest.json"));
    if (key.endsWith("manifest.json")) expect(await keysOf(ctx.store)).toEqual(parts.toSorted());
    puts.push(key);
  });
  const { objectCount } = await backupTenant({ ...ctx, store }, { ...newBackup(), ...request });
  expect([objectCount, puts.at(-1)]).toEqual([puts.length, expect.stringMatching(/manifest\.json$/)]);
  expect(objectCount).toBeGreaterThanOrEqual(3);
});

test("an abort at any moment: cancelled, no manifest, nothing left, no session left on the source", async () => {
  const ctx = await context();
  const moments = ["at once", "copying", "copying more", "part-0-", "part-1-", "manifest.json"];
  for (const moment of moments) {
    const abort = new AbortController();
    let events = 0;
    const onProgress = (): void => {
      events += 1;
      if ((moment === "copying" && events === 1) || (moment === "copying more" && events === 12)) abort.abort();
    };
    const store = watchedStore(ctx.store, (key) => {
      if (key.includes(moment)) abort.abort();
    });
    if (moment === "at once") abort.abort();
    const backup = newBackup();
    const aborted = backupTenant({ ...ctx, store, onProgress, signal: abort.signal }, { ...backup, ...request });
    await expect(aborted, moment).rejects.toMatchObject({ code: "cancelled", context: { tenantId: backup.tenantId } });
    expect(await keysOf(ctx.store), moment).toEqual([]);
  }
  await vi.waitFor(async () => {
    const { rows } = await database.pool.query(
      "SELECT state, query FROM pg_stat_activity WHERE application_name = 'rowback-test' AND datname = current_database() AND state <> 'idle'",
    );
    expect(rows).toEqual([]);
  });
});

test("a source connection that dies in the middle: retryable, nothing left", async () => {
  const ctx = await context();
  let killed = false;
  const onProgress = (): void => {
    if (killed) return;
    killed = true;
    database.pool
      .query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rowback-test' AND datname = current_database()",
      )
      .catch(() => {});
  };
  // The store holds the backup back until the connection is gone.
  const store = watchedStore(ctx.store, () =>
    vi.waitFor(async () => {
      const { rowCount } = await database.pool.query(
        "SELECT FROM pg_stat_activity WHERE application_name = 'rowback-test' AND datname = current_database()",
      );
      expect(rowCount).toBe(0);
    }),
  );
  await expect(backupTenant({ ...ctx, store, onProgress }, { ...newBackup(), ...request })).rejects.toMatchObject({
    code: "source_unreachable",
    retryable: true,
  });
  expect(await keysOf(ctx.store)).toEqual([]);
});

test("rows that the server says it sent and that did not arrive fail the backup, and nothing is left", async () => {
  const ctx = await context();
  const endTable = LaneWriter.prototype.endTable;
  const losing = vi.spyOn(LaneWriter.prototype, "endTable").mockImplementation(function (this: LaneWriter) {
    const ended = endTable.call(this);
    return { ...ended, rows: ended.rows - 1 };
  });
  onTestFinished(() => losing.mockRestore());
  await expect(backupTenant(ctx, { ...newBackup(), ...request })).rejects.toMatchObject({
    code: "source_error",
    context: { table: expect.stringMatching(/^public\./) },
  });
  expect(await keysOf(ctx.store)).toEqual([]);
});

test("where even cleaning up fails, the sweeper collects the parts once they are old, and only those", async () => {
  const ctx = await context();
  const whole = newBackup();
  const { objectCount } = await backupTenant(ctx, { ...whole, ...request });
  const broken = newBackup();
  const store = faultyStore(ctx.store, (key) => (key.endsWith("manifest.json") ? "before" : null));
  store.delete = () => Promise.reject(new Error("the store is gone"));
  await expect(backupTenant({ ...ctx, store }, { ...broken, ...request })).rejects.toMatchObject({
    code: "store_unreachable",
  });
  const leftovers = (await keysOf(ctx.store)).length - objectCount;
  expect(leftovers).toBeGreaterThanOrEqual(2);
  await expect(openBackup(ctx.store, broken)).rejects.toMatchObject({ code: "archive_damaged" });

  const hour = 3_600_000;
  const later = { ...ctx, clock: { now: () => new Date(Date.now() + 2 * hour) } };
  const nobodyIsLive = async (): Promise<boolean> => false;
  expect(await collectGarbage(ctx, { graceMs: hour, isLive: nobodyIsLive })).toMatchObject({ backups: 0 });
  expect(await collectGarbage(later, { graceMs: hour, isLive: async () => true })).toMatchObject({ backups: 0 });
  expect(await collectGarbage(later, { graceMs: hour, isLive: nobodyIsLive })).toMatchObject({
    backups: 1,
    objects: 2,
  });
  expect(await keysOf(ctx.store)).toHaveLength(objectCount);
  await verifyBackup(ctx, whole);
});
