import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withTenant } from "../tenant-context.ts";
import { type ControlFixture, controlFixture, createdId, newTenant } from "../testing/control-fixture.ts";
import { listPurgeable, softDeleteBackup } from "./backup-deletion.ts";
import { claimFairRuns } from "./fair-claims.ts";
import { decideRestore, expireRestores } from "./restore-approvals.ts";
import { getRestore, insertRestoreRun, type Restore } from "./restores.ts";
import { claimRun } from "./run-claims.ts";
import { listEnqueueable } from "./run-sweep.ts";
import { requestCancel } from "./runs.ts";
import { updateTenantRules, updateTenantSettings } from "./tenant-settings.ts";

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("approvals");
});
afterAll(() => control.close());

/** A tenant that asks for a second person. */
async function carefulTenant(): Promise<string> {
  const tenantId = await newTenant(control.db, control.sourceId, randomUUID());
  await withTenant(control.db, tenantId, (client) => updateTenantRules(client, { restoresNeedApproval: true }));
  return tenantId;
}

async function ask(tenantId: string, kind: "restore" | "restore_preview" = "restore", backupId?: string) {
  const { db, sourceId } = control;
  const from = backupId ?? (await control.queuedBackup({ tenantId }));
  return withTenant(db, tenantId, (client) =>
    insertRestoreRun(
      client,
      { kind, tenantId, sourceId, maxAttempts: 3, requestedBy: "ann" },
      { targetSourceId: sourceId, backupId: from, mode: "exact", tables: null, keys: null },
    ),
  );
}

async function waiting(tenantId: string): Promise<string> {
  const asked = await ask(tenantId);
  expect(asked).toMatchObject({ outcome: "created", run: { status: "awaiting_approval" } });
  return createdId(asked);
}

const restoreOf = async (id: string): Promise<Restore> => {
  const restore = await getRestore(control.db.system, id);
  if (restore === null) throw new Error("the restore is gone");
  return restore;
};

const decide = (tenantId: string, runId: string, decidedBy: string, decision: "approved" | "rejected" = "approved") =>
  withTenant(control.db, tenantId, (client) => decideRestore(client, { runId, decision, decidedBy, comment: "seen" }));

const late = (runId: string): Promise<unknown> =>
  control.database.pool.query(
    "UPDATE restore_jobs SET approval_expires_at = now() - interval '1 second' WHERE run_id = $1",
    [runId],
  );

describe("a restore of a careful tenant", () => {
  test("waits: no worker takes it, no sweeper enqueues it, until a second person agrees", async () => {
    const { system } = control.db;
    const tenantId = await carefulTenant();
    const id = await waiting(tenantId);
    const restore = await restoreOf(id);
    expect(restore).toMatchObject({ approvalDecision: null, approvalDecidedBy: null });
    expect((restore.approvalExpiresAt?.getTime() ?? 0) - restore.createdAt.getTime()).toBe(24 * 3_600_000);

    const taken = async (): Promise<string[]> => {
      const fair = await claimFairRuns(system, {
        kinds: ["restore"],
        wanted: 100,
        worker: "w",
        leaseMs: 60_000,
        perTenant: 100,
        perSource: 100,
        shutSources: [],
      });
      return fair.map((run) => run.id);
    };
    expect(await claimRun(system, { runId: id, worker: "w", leaseMs: 60_000 })).toBeNull();
    expect(await taken()).not.toContain(id);
    expect((await listEnqueueable(system, { forMs: 0, limit: 1000 })).map((run) => run.id)).not.toContain(id);

    expect(await decide(tenantId, id, "ann")).toMatchObject({ outcome: "own" });
    expect(await decide(tenantId, id, "bob")).toMatchObject({
      outcome: "decided",
      restore: { status: "queued", approvalDecision: "approved", approvalDecidedBy: "bob", approvalComment: "seen" },
    });
    expect(await decide(tenantId, id, "cid", "rejected")).toMatchObject({ outcome: "not_waiting" });
    expect((await listEnqueueable(system, { forMs: 0, limit: 1000 })).map((run) => run.id)).toContain(id);
    expect(await claimRun(system, { runId: id, worker: "w", leaseMs: 60_000 })).not.toBeNull();
  });

  test("is cancelled by a rejection, by its asker, or by time", async () => {
    const { system } = control.db;
    const tenantId = await carefulTenant();
    const rejected = await waiting(tenantId);
    expect(await decide(tenantId, rejected, "ann", "rejected")).toMatchObject({ outcome: "own" });
    expect(await decide(tenantId, rejected, "bob", "rejected")).toMatchObject({
      outcome: "decided",
      restore: { status: "cancelled", approvalDecision: "rejected" },
    });

    const withdrawn = await waiting(tenantId);
    const cancelled = await withTenant(control.db, tenantId, (client) => requestCancel(client, withdrawn));
    expect(cancelled).toMatchObject({ outcome: "cancelled" });
    expect(await decide(tenantId, withdrawn, "bob")).toMatchObject({ outcome: "not_waiting" });

    const forgotten = await waiting(tenantId);
    expect(await expireRestores(system, 100)).toEqual([]);
    await late(forgotten);
    expect(await decide(tenantId, forgotten, "bob")).toMatchObject({ outcome: "expired" });
    expect(await expireRestores(system, 100)).toEqual([{ runId: forgotten, tenantId }]);
    expect(await restoreOf(forgotten)).toMatchObject({ status: "cancelled", approvalDecision: "expired" });
    expect(await expireRestores(system, 100)).toEqual([]);
  });

  test("stands in the way of another one, and keeps its backup", async () => {
    const tenantId = await carefulTenant();
    const backupId = await control.queuedBackup({ tenantId });
    const id = createdId(await ask(tenantId, "restore", backupId));
    expect(await ask(tenantId)).toMatchObject({ outcome: "restore_in_progress", runId: id });
    const { system } = control.db;
    await withTenant(control.db, tenantId, (client) => requestCancel(client, backupId));
    await updateTenantSettings(system, tenantId, { deletedBackupGraceHours: 0 });
    await withTenant(control.db, tenantId, (client) => softDeleteBackup(client, backupId));
    const purgeable = async () => (await listPurgeable(system, 1000)).map((backup) => backup.id);
    expect(await purgeable()).not.toContain(backupId);
    await decide(tenantId, id, "bob", "rejected");
    expect(await purgeable()).toContain(backupId);
  });

  test("goes on waiting when the rule is lifted; only what is asked for after that does not", async () => {
    const tenantId = await carefulTenant();
    const id = await waiting(tenantId);
    await withTenant(control.db, tenantId, (client) => updateTenantRules(client, { restoresNeedApproval: false }));
    expect(await claimRun(control.db.system, { runId: id, worker: "w", leaseMs: 60_000 })).toBeNull();
    await decide(tenantId, id, "bob", "rejected");
    expect(await ask(tenantId)).toMatchObject({ outcome: "created", run: { status: "queued" } });
  });

  test("its previews wait for nobody, nor do other tenants' restores", async () => {
    const tenantId = await carefulTenant();
    expect(await ask(tenantId, "restore_preview")).toMatchObject({ run: { status: "queued" } });
    const other = await newTenant(control.db, control.sourceId, randomUUID());
    const asked = await ask(other);
    expect(asked).toMatchObject({ run: { status: "queued" } });
    expect((await restoreOf(createdId(asked))).approvalExpiresAt).toBeNull();
    expect(await decide(tenantId, createdId(asked), "bob")).toBeNull();
    expect(await decide(other, createdId(asked), "bob")).toMatchObject({ outcome: "not_waiting" });
  });

  test("of everybody who decides at the same moment, one does, and nobody waits for ever", async () => {
    const tenantId = await carefulTenant();
    for (let round = 0; round < 12; round += 1) {
      const id = await waiting(tenantId);
      if (round % 2 === 0) await late(id);
      const outcomes = await Promise.all([
        decide(tenantId, id, "bob").then((result) => result?.outcome === "decided"),
        expireRestores(control.db.system, 10).then((expired) => expired.some(({ runId }) => runId === id)),
        decide(tenantId, id, "cid", "rejected").then((result) => result?.outcome === "decided"),
        withTenant(control.db, tenantId, (client) => requestCancel(client, id)).then(() => false),
      ]);
      const { status, approvalDecision } = await restoreOf(id);
      expect(outcomes.filter(Boolean).length).toBe(approvalDecision === null ? 0 : 1);
      if (round % 2 === 0) expect([null, "expired"]).toContain(approvalDecision);
      if (status === "queued") await withTenant(control.db, tenantId, (client) => requestCancel(client, id));
      else expect(status).toBe("cancelled");
    }
  });
});

describe("the database alone", () => {
  const refused = (sql: string, values: unknown[]): Promise<unknown> => control.database.pool.query(sql, values);

  test("queues no restore that a second person has to agree to", async () => {
    const tenantId = await carefulTenant();
    const id = await waiting(tenantId);
    const notApproved = { code: "23514", constraint: "restores_are_approved" };
    await expect(refused("UPDATE runs SET status = 'queued' WHERE id = $1", [id])).rejects.toMatchObject(notApproved);
    await expect(
      withTenant(control.db, tenantId, (client) =>
        client.query({ text: "UPDATE runs SET status = 'queued' WHERE id = $1", values: [id] }),
      ),
    ).rejects.toMatchObject(notApproved);
    await decide(tenantId, id, "bob", "rejected");
    await expect(
      refused(
        "INSERT INTO runs (id, kind, tenant_id, source_id, max_attempts, requested_by) VALUES (gen_random_uuid(), 'restore', $1, $2, 1, 'ann')",
        [tenantId, control.sourceId],
      ),
    ).rejects.toMatchObject(notApproved);
  });

  test.each([
    ["by who asked", "approval_decision = 'approved', approval_decided_by = 'ann', approval_decided_at = now()"],
    ["by nobody", "approval_decision = 'approved', approval_decided_at = now()"],
    [
      "by somebody, though it expired",
      "approval_decision = 'expired', approval_decided_by = 'bob', approval_decided_at = now()",
    ],
    ["in other words", "approval_decision = 'maybe', approval_decided_by = 'bob', approval_decided_at = now()"],
  ])("takes no decision %s", async (_, columns) => {
    const id = await waiting(await carefulTenant());
    await expect(refused(`UPDATE restore_jobs SET ${columns} WHERE run_id = $1`, [id])).rejects.toMatchObject({
      code: "23514",
    });
  });

  test("lets no tenant's request change who asked, or until when", async () => {
    const tenantId = await carefulTenant();
    const id = await waiting(tenantId);
    for (const change of ["approval_asked_by = 'zoe'", "approval_expires_at = 'infinity'"]) {
      const attempt = withTenant(control.db, tenantId, (client) =>
        client.query({ text: `UPDATE restore_jobs SET ${change} WHERE run_id = $1`, values: [id] }),
      );
      await expect(attempt, change).rejects.toMatchObject({ code: "42501" });
    }
  });
});
