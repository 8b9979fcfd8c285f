import { randomUUID } from "node:crypto";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  getBackup,
  insertRun,
  listAuditEntries,
  listProtectedTables,
  type Run,
  requestCancel,
  softDeleteBackup,
  updateTenantSettings,
} from "@rowback/db";
import { RestoreResult } from "@rowback/jobs";
import { openStore } from "@rowback/storage";
import pino from "pino";
import { expect, onTestFinished, test } from "vitest";
import { sweepGarbage } from "./sweeper.ts";
import { MISTAKE, shop } from "./testing/shop.ts";

test("a tenant that was deleted altogether comes back, and the undo deletes it again", async () => {
  const fixture = await shop("gone");
  await fixture.start();
  const before = await fixture.rows("acme");
  const { id } = await fixture.backup();
  await fixture.source.pool.query(
    "DELETE FROM orders WHERE tenant_id = 'acme'; DELETE FROM customers WHERE tenant_id = 'acme'; DELETE FROM tenants WHERE id = 'acme'",
  );
  const gone = await fixture.rows("acme");
  const restore = await fixture.apply(await fixture.preview(id));
  await fixture.until(restore.id, "succeeded");
  expect(await fixture.rows("acme")).toBe(before);
  await fixture.until((await fixture.undo(restore.id)).id, "succeeded");
  expect(await fixture.rows("acme")).toBe(gone);
});

test("discovery finds the scope of every table and stores it", async () => {
  const at = await shop("discovery");
  await at.start();
  const run = await at.until((await at.ask({ kind: "discovery" })).id, "succeeded");
  expect(run.result).toMatchObject({ protectedTables: 3, unprotectedTables: 0 });
  const tables = await listProtectedTables(at.db.system, at.sourceId);
  expect(tables.map(({ tableName, scope }) => [tableName, scope])).toEqual([
    ["customers", { kind: "direct", column: "tenant_id" }],
    ["orders", { kind: "direct", column: "tenant_id" }],
    ["tenants", { kind: "root", column: "id" }],
  ]);
  const [entry] = (await listAuditEntries(at.db.system, null, { action: "discovery.finish" })).items;
  expect(entry).toMatchObject({ sourceId: at.sourceId, runId: run.id, after: { tables: 3, worker: "test-worker" } });
});

test("backup, mistake, preview, restore, undo, redo: through the queue, and no other tenant is touched", async () => {
  const at = await shop("story");
  await at.start();
  const [before, others] = [await at.rows("acme"), await at.rows("zenith")];
  const backup = await at.backup();
  expect(await getBackup(at.db.system, backup.id)).toMatchObject({ rowCount: 601, status: "succeeded" });
  await at.source.pool.query(MISTAKE);
  const mistaken = await at.rows("acme");

  const preview = await at.preview(backup.id);
  expect(await at.rows("acme")).toBe(mistaken);
  const restore = await at.until((await at.apply(preview)).id, "succeeded");
  expect(await at.rows("acme")).toBe(before);
  const result = RestoreResult.parse(restore.result);
  expect(result.tables.map(({ table }) => table).sort()).toEqual(["public.customers", "public.orders"]);
  const kept = await getBackup(at.db.system, result.preRestoreBackupId ?? "");
  expect(kept).toMatchObject({ purpose: "pre_restore", parentRunId: restore.id, tables: expect.any(Array) });

  const undo = await at.until((await at.undo(restore.id)).id, "succeeded");
  expect(await at.rows("acme")).toBe(mistaken);
  expect(RestoreResult.parse(undo.result)).toMatchObject({ undoOf: restore.id });
  await at.until((await at.undo(undo.id)).id, "succeeded");
  expect(await at.rows("acme")).toBe(before);
  expect(await at.rows("zenith")).toBe(others);
});

test("a stale preview fails the restore and changes nothing", async () => {
  const at = await shop("stale");
  await at.start();
  const backup = await at.backup();
  await at.source.pool.query(MISTAKE);
  const preview = await at.preview(backup.id);
  await at.source.pool.query("UPDATE orders SET total = 0 WHERE id = 500");
  const now = await at.rows("acme");
  const failed = await at.until((await at.apply(preview)).id, "failed");
  expect(failed).toMatchObject({ attempt: 1, error: { code: "plan_stale" } });
  expect(await at.rows("acme")).toBe(now);
});

test("an undo refuses to overwrite newer changes, unless they are given up; and even those can be brought back", async () => {
  const at = await shop("newer");
  await at.start();
  const backup = await at.backup();
  await at.source.pool.query(MISTAKE);
  const mistaken = await at.rows("acme");
  const restore = await at.until((await at.apply(await at.preview(backup.id))).id, "succeeded");
  await at.source.pool.query("UPDATE orders SET total = 77 WHERE id = 500");
  const newer = await at.rows("acme");
  const refused = await at.until((await at.undo(restore.id)).id, "failed");
  expect(refused.error).toMatchObject({ code: "plan_stale" });
  expect(await at.rows("acme")).toBe(newer);
  const forced = await at.until((await at.undo(restore.id, true)).id, "succeeded");
  expect(await at.rows("acme")).toBe(mistaken);
  await at.until((await at.undo(forced.id)).id, "succeeded");
  expect(await at.rows("acme")).toBe(newer);
});

test("missing_only brings back what is gone and keeps what is newer", async () => {
  const at = await shop("missing");
  await at.start();
  const backup = await at.backup();
  await at.source.pool.query(MISTAKE);
  await at.until((await at.apply(await at.preview(backup.id, "missing_only"))).id, "succeeded");
  const { rows } = await at.source.pool.query(
    "SELECT (SELECT count(*)::int FROM orders WHERE tenant_id = 'acme') AS orders, (SELECT count(*)::int FROM customers WHERE name IN ('oops', 'by mistake')) AS kept",
  );
  expect(rows).toEqual([{ orders: 500, kept: 21 }]);
});

test("a backup is verified; a damaged one is found out", async () => {
  const at = await shop("verify");
  await at.start();
  const backup = await at.backup();
  const verify = async (): Promise<Run> => {
    const result = await insertRun(at.db.system, {
      kind: "backup_verify",
      tenantId: at.tenantId,
      sourceId: at.sourceId,
      maxAttempts: 3,
      requestedBy: "user-1",
      params: { backupId: backup.id },
    });
    if (result.outcome !== "created") throw new Error(result.outcome);
    await at.enqueue(result.run);
    return result.run;
  };
  expect((await at.until((await verify()).id, "succeeded")).result).toMatchObject({ rowCount: 601 });
  if (at.config.store.driver !== "filesystem") throw new Error("the fixture's store is a folder");
  const folder = join(at.config.store.root, "tenants", at.tenantId, "backups", backup.id);
  const part = (await readdir(folder)).find((name) => name.startsWith("part-0-")) ?? "";
  await writeFile(join(folder, part), "not what was stored");
  expect((await at.until((await verify()).id, "failed")).error).toMatchObject({
    code: "archive_damaged",
    retryable: false,
  });
});

test("a backup that would burst the tenant's quota is refused", async () => {
  const at = await shop("quota");
  await at.start();
  await updateTenantSettings(at.db.system, at.tenantId, { storageQuotaBytes: 100 });
  const { id } = await at.ask({ kind: "backup" });
  const failed = await at.until(id, "failed");
  expect(failed).toMatchObject({ attempt: 1, error: { code: "quota_exceeded", retryable: false } });
  if (at.config.store.driver !== "filesystem") throw new Error("the fixture's store is a folder");
  const left = await readdir(at.config.store.root, { recursive: true, withFileTypes: true });
  expect(left.filter((entry) => entry.isFile())).toEqual([]);
});

test("a backup that is cancelled while a lock holds it up ends within two seconds, and nothing of it is visible", async () => {
  const at = await shop("cancel-backup");
  await at.start();
  const blocker = await at.source.pool.connect();
  try {
    await blocker.query("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE");
    const { id } = await at.ask({ kind: "backup" });
    await at.until(id, "running");
    const askedAt = performance.now();
    await requestCancel(at.db.system, id);
    await at.until(id, "cancelled");
    expect(performance.now() - askedAt).toBeLessThan(3_000);
    expect(await getBackup(at.db.system, id)).toMatchObject({ status: "cancelled", manifestSha256: null });
  } finally {
    await blocker.query("ROLLBACK");
    blocker.release();
  }
});

test("the sweeper purges a deleted backup past its grace, and its objects are gone", async () => {
  const at = await shop("purge");
  const worker = await at.start();
  const [kept, deleted] = [await at.backup(), await at.backup()];
  await worker.close();
  await updateTenantSettings(at.db.system, at.tenantId, { deletedBackupGraceHours: 0 });
  await softDeleteBackup(at.db.system, deleted.id);
  const store = openStore(at.config.store);
  onTestFinished(() => store.close());
  const orphan = `tenants/${at.tenantId}/backups/${randomUUID()}/part-0`;
  await store.put(orphan, Buffer.from("left by a crash"));
  if (at.config.store.driver !== "filesystem") throw new Error("the fixture's store is a folder");
  const temporary = join(at.config.store.root, ".rowback", "tmp");
  await writeFile(join(temporary, randomUUID()), "a part that a dead process had begun");
  const options = {
    db: at.db,
    control: at.db.system,
    producer: at.producer,
    workerName: "a worker",
    store,
    clock: { now: () => new Date(Date.now() + 2 * 3_600_000) },
    log: pino({ level: "silent" }),
    settings: at.config.sweep,
  };
  await sweepGarbage(options, new AbortController().signal);
  const keys = [];
  for await (const { key } of store.list("tenants/")) keys.push(key);
  expect(keys.length).toBeGreaterThan(0);
  expect(keys.every((key) => key.includes(kept.id))).toBe(true);
  expect(await readdir(temporary)).toEqual([]);
  expect(await getBackup(at.db.system, deleted.id)).toMatchObject({ purgedAt: expect.any(Date) });
  const [entry] = (await listAuditEntries(at.db.system, at.tenantId)).items;
  expect(entry).toMatchObject({ action: "backup.purge", runId: deleted.id, after: { worker: "a worker" } });
});
