import { decideRestore, getRestore, insertRestoreRun, updateTenantRules, withTenant } from "@rowback/db";
import { JOBS } from "@rowback/jobs";
import { expect, test, vi } from "vitest";
import { scripted } from "./testing/scripted-handlers.ts";
import { type WorkerFixture, workerFixture } from "./testing/worker-fixture.ts";

/** A restore that awaits approval, and a job for it that somebody put into the queue all the same. */
async function waitingRestore(fixture: WorkerFixture): Promise<string> {
  const { db, tenantId, sourceId } = fixture;
  await withTenant(db, tenantId, (client) => updateTenantRules(client, { restoresNeedApproval: true }));
  const { id: backupId } = await fixture.insert({ kind: "backup" });
  const asked = await insertRestoreRun(
    db.system,
    { kind: "restore", tenantId, sourceId, maxAttempts: JOBS.restore.attempts, requestedBy: "ann" },
    { targetSourceId: sourceId, backupId, mode: "exact", tables: null, keys: null },
  );
  if (asked.outcome !== "created") throw new Error(`expected a new restore, got ${asked.outcome}`);
  await fixture.enqueue(asked.run);
  return asked.run.id;
}

/** Verifications go through the same worker and sweeper: when some are done, the restore had its chances. */
async function letTheWorkerWork(fixture: WorkerFixture): Promise<void> {
  for (let round = 0; round < 3; round += 1) await fixture.until((await fixture.insert()).id, "succeeded");
}

test("no job, no worker and no sweeper begins a restore that nobody agreed to; once somebody did, the sweeper delivers it", async () => {
  const fixture = await workerFixture("approval");
  const id = await waitingRestore(fixture);
  await fixture.start(scripted(async () => undefined));
  await letTheWorkerWork(fixture);
  expect(await fixture.run(id)).toMatchObject({ status: "awaiting_approval", attempt: 0, startedAt: null });

  await withTenant(fixture.db, fixture.tenantId, (client) =>
    decideRestore(client, { runId: id, decision: "approved", decidedBy: "bob", comment: null }),
  );
  // These handlers refuse restores: that it failed says that it was begun.
  await fixture.until(id, "failed");
  expect(await fixture.run(id)).toMatchObject({ attempt: 1 });
});

test("a sweep ends what nobody agreed to in time", async () => {
  const fixture = await workerFixture("approval_expires");
  const id = await waitingRestore(fixture);
  await fixture.db.system.query({
    text: "UPDATE restore_jobs SET approval_expires_at = now() WHERE run_id = $1",
    values: [id],
  });
  await fixture.start(scripted(async () => undefined));
  await fixture.until(id, "cancelled");
  await vi.waitFor(async () =>
    expect(await getRestore(fixture.db.system, id)).toMatchObject({ approvalDecision: "expired", startedAt: null }),
  );
});
