import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { verifyAuditLog } from "./audit-verification.ts";
import { type AuditEntry, listAuditEntries } from "./tables/audit-log.ts";
import { beginPurge, markPurged, softDeleteBackup } from "./tables/backup-deletion.ts";
import { type BackupOutcomeRow, succeedBackupRun } from "./tables/backups.ts";
import { expireRestores } from "./tables/restore-approvals.ts";
import { insertRestorePointRun, succeedRestorePointRun } from "./tables/restore-points.ts";
import { insertRestoreRun, succeedRestoreRun } from "./tables/restores.ts";
import { claimRun } from "./tables/run-claims.ts";
import type { RunClaim } from "./tables/run-row.ts";
import { updateTenantRules, updateTenantSettings } from "./tables/tenant-settings.ts";
import { withTenant } from "./tenant-context.ts";
import { type ControlFixture, controlFixture, createdId, newTenant } from "./testing/control-fixture.ts";

// What workers do is in the audit log as what people do is: by the statement that does it, and in the tenant's chain.

let control: ControlFixture;
let tenantId: string;
beforeAll(async () => {
  control = await controlFixture("worker-audit");
});
beforeEach(async () => {
  tenantId = await newTenant(control.db, control.sourceId, randomUUID());
});
afterAll(async () => {
  expect((await verifyAuditLog(control.db, {})).broken).toEqual([]);
  await control.close();
});

const BACKUP: BackupOutcomeRow = {
  rowCount: 5_000_000_000,
  rawBytes: 1,
  storedBytes: 4_000,
  objectCount: 2,
  manifestSha256: "ab".repeat(32),
  snapshot: { lsn: "0/1", at: new Date(), pgSnapshot: "1:1:", endLsn: "0".repeat(16) },
  serverVersion: "18.1",
  tables: [],
};

async function entries(of: string = tenantId): Promise<AuditEntry[]> {
  return (await listAuditEntries(control.db.system, of)).items.toReversed();
}

async function claimed(runId: string): Promise<RunClaim> {
  const run = await claimRun(control.db.system, { runId, worker: "worker-7", leaseMs: 60_000 });
  if (run === null) throw new Error("expected to get the run");
  return { runId, attemptToken: run.attemptToken };
}

async function madeBackup(of: string = tenantId): Promise<string> {
  const id = await control.queuedBackup({ tenantId: of });
  await succeedBackupRun(control.db.system, await claimed(id), BACKUP, null);
  return id;
}

async function askRestore(
  kind: "restore" | "restore_preview",
  backupId: string,
  of: string = tenantId,
): Promise<string> {
  const { db, sourceId } = control;
  const run = { kind, tenantId: of, sourceId, maxAttempts: 1, requestedBy: "ann" };
  const wish = { targetSourceId: sourceId, backupId, mode: "exact", tables: null, keys: null } as const;
  return createdId(await withTenant(db, of, (client) => insertRestoreRun(client, run, wish)));
}

test("a backup that ended well: who asked, which worker, and what it holds; nothing by one that lost its lease", async () => {
  const id = await control.queuedBackup({ tenantId });
  const claim = await claimed(id);
  const lost = { ...claim, attemptToken: randomUUID() };
  expect(await succeedBackupRun(control.db.system, lost, BACKUP, null)).toBe(false);
  expect(await entries()).toEqual([]);
  expect(await succeedBackupRun(control.db.system, claim, BACKUP, null)).toBe(true);
  expect(await succeedBackupRun(control.db.system, claim, BACKUP, null)).toBe(false);
  expect(await entries()).toMatchObject([
    {
      userId: "user-1",
      action: "backup.finish",
      runId: id,
      sourceId: control.sourceId,
      before: { status: "running" },
      after: {
        ...{ status: "succeeded", worker: "worker-7", rows: 5_000_000_000, storedBytes: 4_000 },
        manifestSha256: BACKUP.manifestSha256,
      },
    },
  ]);
});

test("a restore that ended well: how many rows of which plan; a preview changed nothing and is no entry", async () => {
  const backupId = await madeBackup();
  const changes = [
    { table: "public.orders", inserted: 3, updated: 0, deleted: 1 },
    { table: "public.lines", inserted: 4, updated: 2, deleted: 0 },
  ];
  const outcome = { result: {}, planDigest: "d1", changes, fingerprintsAfter: {} };
  const previewId = await askRestore("restore_preview", backupId);
  expect(await succeedRestoreRun(control.db.system, await claimed(previewId), outcome)).toBe(true);
  const id = await askRestore("restore", backupId);
  expect(await succeedRestoreRun(control.db.system, await claimed(id), outcome)).toBe(true);
  expect((await entries()).slice(1)).toMatchObject([
    {
      userId: "ann",
      action: "restore.finish",
      runId: id,
      after: { worker: "worker-7", planDigest: "d1", inserted: 7, updated: 2, deleted: 1 },
    },
  ]);
});

test("a restore point that was made", async () => {
  const run = { tenantId, sourceId: control.sourceId, maxAttempts: 1, requestedBy: "ann" };
  const id = createdId(await insertRestorePointRun(control.db.system, run, "before the import"));
  const point = { lsn: "00000000016b3748", at: 1n };
  expect(await succeedRestorePointRun(control.db.system, await claimed(id), point, null)).toBe(true);
  expect(await entries()).toMatchObject([
    { userId: "ann", action: "restore-point.finish", after: { worker: "worker-7", lsn: point.lsn } },
  ]);
});

test("a purge of a deleted backup, once", async () => {
  const id = await madeBackup();
  await updateTenantSettings(control.db.system, tenantId, { deletedBackupGraceHours: 0 });
  await softDeleteBackup(control.db.system, id);
  expect(await markPurged(control.db.system, id, "worker-7")).toBe(false);
  expect(await beginPurge(control.db.system, id)).toBe(true);
  expect(await markPurged(control.db.system, id, "worker-7")).toBe(true);
  expect(await markPurged(control.db.system, id, "worker-8")).toBe(false);
  expect((await entries()).slice(1)).toMatchObject([
    {
      userId: "rowback:worker",
      action: "backup.purge",
      runId: id,
      before: { objects: 2, storedBytes: 4_000, deletedAt: expect.any(String) },
      after: { purged: true, worker: "worker-7" },
    },
  ]);
});

test("approvals that nobody gave in time, of several tenants by one statement, each in its own chain", async () => {
  const others = [await newTenant(control.db, control.sourceId, randomUUID()), tenantId];
  const late = new Map<string, string>();
  for (const of of others) {
    await withTenant(control.db, of, (client) => updateTenantRules(client, { restoresNeedApproval: true }));
    late.set(of, await askRestore("restore", await madeBackup(of), of));
  }
  await control.database.pool.query(
    "UPDATE restore_jobs SET approval_expires_at = now() WHERE approval_asked_by IS NOT NULL",
  );
  expect(await expireRestores(control.db.system, 10)).toHaveLength(2);
  for (const [of, runId] of late) {
    expect((await entries(of)).at(-1)).toMatchObject({
      userId: "rowback:worker",
      action: "restore.expire",
      runId,
      before: { status: "awaiting_approval" },
      after: { status: "cancelled", requestedBy: "ann" },
    });
  }
});
