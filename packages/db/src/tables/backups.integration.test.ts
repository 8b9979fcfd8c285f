import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Queryable, Statement } from "../control-database.ts";
import { withTenant } from "../tenant-context.ts";
import { type ControlFixture, controlFixture, createdId, newTenant } from "../testing/control-fixture.ts";
import { beginPurge, listPurgeable, markPurged, softDeleteBackup, undeleteBackup } from "./backup-deletion.ts";
import {
  type BackupFilter,
  type BackupOutcomeRow,
  getBackup,
  listBackups,
  storedBytes,
  succeedBackupRun,
} from "./backups.ts";
import { insertRestoreRun } from "./restores.ts";
import { claimRun } from "./run-claims.ts";
import type { RunClaim } from "./run-row.ts";
import { requestCancel } from "./runs.ts";
import { updateTenantSettings } from "./tenant-settings.ts";

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("backups");
});
afterAll(() => control.close());

const OUTCOME: BackupOutcomeRow = {
  rowCount: 5_000_000_000,
  rawBytes: 40_000,
  storedBytes: 4_000,
  objectCount: 2,
  manifestSha256: "ab".repeat(32),
  snapshot: {
    lsn: "0/1DBFC00",
    at: new Date("2026-11-23T22:00:00Z"),
    pgSnapshot: "10:10:",
    endLsn: "00000000016b3750",
  },
  serverVersion: "18.1",
  tables: [{ table: "public.orders", rows: 5, rawBytes: 40_000, fingerprint: { rows: "5", sum: "f00" } }],
};

async function claimed(runId: string): Promise<RunClaim> {
  const run = await claimRun(control.db.system, { runId, worker: "w", leaseMs: 60_000 });
  if (run === null) throw new Error("expected to get the run");
  return { runId, attemptToken: run.attemptToken };
}

async function madeBackup(options: { tenantId?: string; parentBackupId?: string } = {}): Promise<string> {
  const backupId = await control.queuedBackup(options);
  expect(await succeedBackupRun(control.db.system, await claimed(backupId), OUTCOME, null)).toBe(true);
  return backupId;
}

const freshTenant = (): Promise<string> => newTenant(control.db, control.sourceId, randomUUID());
const list = (tenantId: string, filter: BackupFilter): Promise<string[]> =>
  withTenant(control.db, tenantId, async (client) =>
    (await listBackups(client, filter, {})).items.map((backup) => backup.id),
  );

describe("a backup's outcome", () => {
  test("comes with the success of its run, and reads back as it was", async () => {
    const backupId = await madeBackup();
    const { snapshot, tables, ...counts } = OUTCOME;
    expect(await getBackup(control.db.system, backupId)).toMatchObject({
      ...counts,
      status: "succeeded",
      type: "full",
      tables: null,
      snapshotLsn: snapshot.lsn,
      snapshotAt: snapshot.at,
      tableStats: tables,
    });
  });

  test("is not written by a worker that lost the run", async () => {
    const backupId = await control.queuedBackup();
    const lost = { ...(await claimed(backupId)), attemptToken: randomUUID() };
    expect(await succeedBackupRun(control.db.system, lost, OUTCOME, null)).toBe(false);
    expect(await getBackup(control.db.system, backupId)).toMatchObject({ status: "running", manifestSha256: null });
  });
});

describe("listBackups", () => {
  test("filters by status, type and time; deleted ones are left out unless asked for", async () => {
    const tenantId = await freshTenant();
    const full = await madeBackup({ tenantId });
    const incremental = await madeBackup({ tenantId, parentBackupId: full });
    const queued = await control.queuedBackup({ tenantId });
    const deleted = await madeBackup({ tenantId });
    await softDeleteBackup(control.db.system, deleted);

    expect(await list(tenantId, {})).toEqual([queued, incremental, full]);
    expect(await list(tenantId, { includeDeleted: true })).toEqual([deleted, queued, incremental, full]);
    expect(await list(tenantId, { status: "succeeded" })).toEqual([incremental, full]);
    expect(await list(tenantId, { type: "incremental" })).toEqual([incremental]);
    expect(await list(tenantId, { purpose: "pre_restore" })).toEqual([]);
    expect(await list(tenantId, { from: new Date(Date.now() + 3_600_000) })).toEqual([]);
    expect(await list(tenantId, { from: new Date(0), to: new Date(Date.now() + 3_600_000) })).toHaveLength(3);
    expect(await withTenant(control.db, tenantId, storedBytes)).toBe(3 * OUTCOME.storedBytes);
  });

  test("reads as little of 100,000 backups as its page needs", async () => {
    const tenantId = await freshTenant();
    await insertManyBackups(tenantId, 100_000);
    await control.database.pool.query("VACUUM ANALYZE runs, backup_jobs");
    const next = await withTenant(control.db, tenantId, async (client) => (await listBackups(client, {}, {})).next);
    for (const [filter, page, index] of [
      [{}, {}, "runs_newest"],
      [{}, { cursor: next ?? "" }, "runs_newest"],
      [{ from: new Date(Date.now() - 3_600_000) }, {}, "runs_newest"],
      [{ status: "failed" }, {}, "runs_by_status"],
    ] as const) {
      const plan = await planOf(tenantId, (client) => listBackups({ ...client, tenantId }, filter, page));
      expect(plan, JSON.stringify(filter)).toContain(index);
      // Some 5 pages a row (index, run, backup), not the 3,000 of the tables.
      expect(Number(/shared hit=(\d+)/.exec(plan)?.[1]), plan).toBeLessThan(1_000);
    }
  });
});

/** Without foreign-key triggers, which would take most of a minute. */
async function insertManyBackups(tenantId: string, count: number): Promise<void> {
  const client = await control.database.pool.connect();
  try {
    await client.query("BEGIN; SET LOCAL session_replication_role = replica");
    await client.query(
      `WITH run AS (
         INSERT INTO runs (id, kind, tenant_id, source_id, max_attempts, requested_by, created_at)
         SELECT gen_random_uuid(), 'backup', $1, $2, 3, 'u', now() - n * interval '1 minute' FROM generate_series(1, $3) n RETURNING *)
       INSERT INTO backup_jobs (run_id, tenant_id, source_id, type, purpose) SELECT id, tenant_id, source_id, 'full', 'manual' FROM run`,
      [tenantId, control.sourceId, count],
    );
    await client.query("COMMIT");
  } finally {
    client.release();
  }
}

/** EXPLAIN of the one statement that `fn` sends, under the tenant's role. */
async function planOf(tenantId: string, fn: (client: Queryable) => Promise<unknown>): Promise<string> {
  return withTenant(control.db, tenantId, async (client) => {
    const lines: string[] = [];
    const query = async (statement: Statement): Promise<{ rows: unknown[]; rowCount: number }> => {
      const text = `EXPLAIN (ANALYZE, BUFFERS) ${statement.text}`;
      const { rows } = await client.query({ text, values: statement.values ?? [] });
      lines.push(...rows.flatMap((row) => Object.values(row ?? {})));
      return { rows: [], rowCount: 0 };
    };
    await fn({ query });
    return lines.join("\n");
  });
}

describe("deleting a backup", () => {
  test("hides it, and can be taken back until its purge begins", async () => {
    const tenantId = await freshTenant();
    await updateTenantSettings(control.db.system, tenantId, { deletedBackupGraceHours: 0 });
    const backupId = await madeBackup({ tenantId });
    await withTenant(control.db, tenantId, async (client) => {
      expect(await softDeleteBackup(client, backupId)).toMatchObject({ outcome: "deleted" });
      expect(await undeleteBackup(client, backupId)).toMatchObject({
        outcome: "restored",
        backup: { deletedAt: null },
      });
    });
    const { system } = control.db;
    expect(await beginPurge(system, backupId)).toBe(false);
    await softDeleteBackup(system, backupId);
    expect(await listPurgeable(system, 500)).toContainEqual({ id: backupId, tenantId, sourceId: control.sourceId });
    expect(await beginPurge(system, backupId)).toBe(true);
    expect(await withTenant(control.db, tenantId, (client) => undeleteBackup(client, backupId))).toEqual({
      outcome: "purged",
    });
    // A crash here: the next sweep goes on with it.
    expect(await beginPurge(system, backupId)).toBe(true);
    expect(await markPurged(system, backupId, "worker")).toBe(true);
    expect((await listPurgeable(system, 500)).map((backup) => backup.id)).not.toContain(backupId);
    expect(await softDeleteBackup(system, backupId)).toBeNull();
    expect(await list(tenantId, { includeDeleted: true })).toEqual([]);
  });

  test("the grace is a week unless the tenant's settings say otherwise", async () => {
    const tenantId = await freshTenant();
    const backupId = await madeBackup({ tenantId });
    await softDeleteBackup(control.db.system, backupId);
    const purgeable = async (age: string): Promise<boolean> => {
      await control.database.pool.query("UPDATE backup_jobs SET deleted_at = now() - $2::interval WHERE run_id = $1", [
        backupId,
        age,
      ]);
      return (await listPurgeable(control.db.system, 500)).some((backup) => backup.id === backupId);
    };
    expect(await purgeable("167 hours")).toBe(false);
    expect(await purgeable("169 hours")).toBe(true);
    await updateTenantSettings(control.db.system, tenantId, { deletedBackupGraceHours: 200 });
    expect(await purgeable("169 hours")).toBe(false);
  });

  test("is refused while it is being made, and while others stand on it", async () => {
    const { system } = control.db;
    const running = await control.queuedBackup();
    expect(await softDeleteBackup(system, running)).toMatchObject({ outcome: "in_progress" });
    const parent = await madeBackup();
    const child = await madeBackup({ parentBackupId: parent });
    expect(await softDeleteBackup(system, parent)).toEqual({ outcome: "has_dependents", dependents: [child] });
    await softDeleteBackup(system, child);
    expect(await softDeleteBackup(system, parent)).toMatchObject({ outcome: "deleted" });
    // The child's objects still need the parent's: it goes first.
    await control.database.pool.query("UPDATE backup_jobs SET deleted_at = '2020-01-01' WHERE run_id = ANY ($1)", [
      [parent, child],
    ]);
    expect(await beginPurge(system, parent)).toBe(false);
    expect(await beginPurge(system, child)).toBe(true);
    await markPurged(system, child, "worker");
    expect(await beginPurge(system, parent)).toBe(true);
  });

  test("one that failed stands on nothing: it does not keep the objects of its parent for ever", async () => {
    const { system } = control.db;
    const parent = await madeBackup();
    const child = await control.queuedBackup({ parentBackupId: parent });
    const purgeable = async (): Promise<boolean> => {
      await control.database.pool.query("UPDATE backup_jobs SET deleted_at = '2020-01-01' WHERE run_id = $1", [parent]);
      return (await listPurgeable(system, 500)).some(({ id }) => id === parent);
    };
    // Both asked at the same moment: it is still to be made.
    expect(await purgeable()).toBe(false);
    await requestCancel(system, child);
    expect(await purgeable()).toBe(true);
    expect(await beginPurge(system, parent)).toBe(true);
  });

  test("its objects stay while a restore reads them", async () => {
    const { system } = control.db;
    const { tenantId, sourceId } = control;
    const backupId = await madeBackup();
    const restore = createdId(
      await insertRestoreRun(
        system,
        { kind: "restore", tenantId, sourceId, maxAttempts: 1, requestedBy: "user-1" },
        { targetSourceId: sourceId, backupId, mode: "exact", tables: null, keys: null },
      ),
    );
    await softDeleteBackup(system, backupId);
    await control.database.pool.query("UPDATE backup_jobs SET deleted_at = '2020-01-01' WHERE run_id = $1", [backupId]);
    expect(await beginPurge(system, backupId)).toBe(false);
    await requestCancel(system, restore);
    expect(await beginPurge(system, backupId)).toBe(true);
  });

  test("another tenant's backup is not there", async () => {
    const foreign = await madeBackup({ tenantId: control.otherTenantId });
    await withTenant(control.db, control.tenantId, async (client) => {
      expect(await getBackup(client, foreign)).toBeNull();
      expect(await softDeleteBackup(client, foreign)).toBeNull();
      expect(await undeleteBackup(client, foreign)).toBeNull();
    });
  });
});
