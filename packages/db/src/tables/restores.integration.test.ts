import { afterAll, beforeAll, expect, test } from "vitest";
import { withTenant } from "../tenant-context.ts";
import { type ControlFixture, controlFixture, createdId } from "../testing/control-fixture.ts";
import {
  getRestore,
  getUndoOf,
  insertRestoreRun,
  listRestores,
  recordPreRestoreBackup,
  succeedRestoreRun,
} from "./restores.ts";
import { claimRun } from "./run-claims.ts";
import type { RunClaim } from "./run-row.ts";

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("restores");
});
afterAll(() => control.close());

async function insert(
  kind: "restore_preview" | "restore",
  more: { previewRunId?: string; undoOf?: string; planDigest?: string } = {},
) {
  const { tenantId, sourceId } = control;
  const backupId = await control.queuedBackup();
  return withTenant(control.db, tenantId, async (client) =>
    createdId(
      await insertRestoreRun(
        client,
        { kind, tenantId, sourceId, maxAttempts: 1, requestedBy: "user-1" },
        {
          targetSourceId: sourceId,
          backupId,
          mode: "exact",
          tables: ["public.orders"],
          keys: [{ table: "public.orders", keys: [["1"], ["2"]] }],
          ...more,
        },
      ),
    ),
  );
}

async function claimed(runId: string): Promise<RunClaim> {
  const run = await claimRun(control.db.system, { runId, worker: "w", leaseMs: 60_000 });
  if (run === null) throw new Error("expected to get the run");
  return { runId, attemptToken: run.attemptToken };
}

test("preview, restore, undo: what is asked, and what came of it", async () => {
  const { db, tenantId } = control;
  const previewRunId = await insert("restore_preview");
  const plan = {
    result: { tables: [] },
    planDigest: "d1",
    changes: { "public.orders": { insert: 2 } },
    fingerprintsAfter: null,
  };
  expect(await succeedRestoreRun(db.system, await claimed(previewRunId), plan)).toBe(true);
  expect(await getRestore(db.system, previewRunId)).toMatchObject({
    kind: "restore_preview",
    status: "succeeded",
    planDigest: "d1",
    result: { tables: [] },
    changes: plan.changes,
    fingerprintsAfter: null,
    tables: ["public.orders"],
    keys: [{ table: "public.orders", keys: [["1"], ["2"]] }],
  });

  const restoreId = await insert("restore", { previewRunId, planDigest: "d1" });
  const claim = await claimed(restoreId);
  const preRestoreBackupId = await control.queuedBackup();
  expect(await recordPreRestoreBackup(db.system, { ...claim, attemptToken: previewRunId }, preRestoreBackupId)).toBe(
    false,
  );
  expect(await recordPreRestoreBackup(db.system, claim, preRestoreBackupId)).toBe(true);
  const outcome = { ...plan, fingerprintsAfter: { "public.orders": { rows: "2" } } };
  expect(await succeedRestoreRun(db.system, claim, outcome)).toBe(true);
  expect(await succeedRestoreRun(db.system, claim, outcome)).toBe(false);

  expect(await getUndoOf(db.system, restoreId)).toBeNull();
  const undoId = await insert("restore", { undoOf: restoreId });
  await succeedRestoreRun(db.system, await claimed(undoId), outcome);
  expect(await getUndoOf(db.system, restoreId)).toMatchObject({ id: undoId, undoOf: restoreId });

  await withTenant(db, tenantId, async (client) => {
    const listed = await listRestores(client, {}, {});
    expect(listed.items.map((restore) => restore.id)).toEqual([undoId, restoreId]);
    expect(listed.items[1]).toMatchObject({
      previewRunId,
      preRestoreBackupId,
      fingerprintsAfter: outcome.fingerprintsAfter,
    });
    expect((await listRestores(client, { kind: "restore_preview" }, {})).items).toHaveLength(1);
    expect((await listRestores(client, { status: "failed" }, {})).items).toEqual([]);
  });
  await withTenant(db, control.otherTenantId, async (client) => {
    expect(await getRestore(client, restoreId)).toBeNull();
    expect((await listRestores(client, {}, {})).items).toEqual([]);
  });
});
