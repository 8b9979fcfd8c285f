import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InvalidCursorError } from "../page.ts";
import { withTenant } from "../tenant-context.ts";
import { type ControlFixture, controlFixture, createdId, newTenant } from "../testing/control-fixture.ts";
import type { InsertRunResult, NewRun } from "./insert-run.ts";
import { insertRestoreRun } from "./restores.ts";
import { claimRun, succeedRun } from "./run-claims.ts";
import { listEnqueueable, listExpiredLeases } from "./run-sweep.ts";
import { countRecentRuns, getRun, insertRun, lastDiscovery, listRuns, requestCancel } from "./runs.ts";

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("runs");
});
afterAll(() => control.close());

function newRun(more: Partial<NewRun> = {}): NewRun {
  const { tenantId, sourceId } = control;
  return { kind: "backup_verify", tenantId, sourceId, maxAttempts: 3, requestedBy: "user-1", ...more };
}

async function finish(runId: string): Promise<void> {
  const claim = await claimRun(control.db.system, { runId, worker: "w", leaseMs: 60_000 });
  if (claim === null) throw new Error("expected to get the run");
  await succeedRun(control.db.system, { runId, attemptToken: claim.attemptToken }, { tables: 3 });
}

describe("idempotency", () => {
  const insertAtOnce = (run: NewRun): Promise<InsertRunResult[]> =>
    Promise.all(Array.from({ length: 10 }, () => insertRun(control.db.system, run)));

  test.each([
    ["a tenant's run", {}],
    ["a source's run", { kind: "discovery", tenantId: null }],
  ] as const)("ten times the same request at once is one run (%s)", async (_name, of) => {
    const results = await insertAtOnce(newRun({ ...of, idempotency: { key: randomUUID(), digest: "d1" } }));
    expect(results.filter((result) => result.outcome === "created")).toHaveLength(1);
    expect(results.filter((result) => result.outcome === "existing")).toHaveLength(9);
    expect(new Set(results.map((result) => ("run" in result ? result.run.id : null))).size).toBe(1);
  });

  test("the same key with another request is a conflict; of another user or tenant it is another key", async () => {
    const key = randomUUID();
    const { system } = control.db;
    const first = createdId(await insertRun(system, newRun({ idempotency: { key, digest: "d1" } })));
    expect(await insertRun(system, newRun({ idempotency: { key, digest: "d2" } }))).toEqual({
      outcome: "idempotency_conflict",
      runId: first,
    });
    createdId(await insertRun(system, newRun({ requestedBy: "user-2", idempotency: { key, digest: "d1" } })));
    createdId(await insertRun(system, newRun({ tenantId: control.otherTenantId, idempotency: { key, digest: "d1" } })));
  });
});

describe("one restore at a time", () => {
  const restore = async (tenantId: string, backupId: string, idempotency?: { key: string; digest: string }) =>
    withTenant(control.db, tenantId, (client) =>
      insertRestoreRun(
        client,
        { kind: "restore", tenantId, sourceId: control.sourceId, maxAttempts: 1, requestedBy: "user-1", idempotency },
        { targetSourceId: control.sourceId, backupId, mode: "exact", tables: null, keys: null },
      ),
    );

  test("of ten at once one is taken, the others are told which; afterwards there is room again", async () => {
    const { tenantId, otherTenantId } = control;
    const backupId = await control.queuedBackup();
    const results = await Promise.all(Array.from({ length: 10 }, () => restore(tenantId, backupId)));
    const ids = results.flatMap((result) => (result.outcome === "created" ? [result.run.id] : []));
    expect(ids).toHaveLength(1);
    expect(results.filter((result) => result.outcome === "restore_in_progress")).toEqual(
      Array.from({ length: 9 }, () => ({ outcome: "restore_in_progress", runId: ids[0] })),
    );
    createdId(await restore(otherTenantId, await control.queuedBackup({ tenantId: otherTenantId })));
    await requestCancel(control.db.system, ids[0] ?? "");
    createdId(await restore(tenantId, backupId));
  });

  test("the same request again is its own run, not a rival", async () => {
    const tenantId = await newTenant(control.db, control.sourceId, randomUUID());
    const backupId = await control.queuedBackup({ tenantId });
    const idempotency = { key: randomUUID(), digest: "d" };
    const runId = createdId(await restore(tenantId, backupId, idempotency));
    expect(await restore(tenantId, backupId, idempotency)).toMatchObject({ outcome: "existing", run: { id: runId } });
  });
});

describe("listRuns", () => {
  test("pages over runs of one and the same moment neither skip nor repeat, whatever the page's size", async () => {
    const tenantId = await newTenant(control.db, control.sourceId, randomUUID());
    const ids = await Promise.all(Array.from({ length: 11 }, () => control.queuedRun({ tenantId })));
    const backups = await Promise.all(Array.from({ length: 6 }, () => control.queuedBackup({ tenantId })));
    // Microseconds apart inside one millisecond, and some at the very same moment.
    await control.database.pool.query(
      `UPDATE runs SET status = 'running', attempt_token = id, lease_until = now(), worker = 'w',
         created_at = '2026-01-01 00:00:00.000500Z'::timestamptz + (abs(hashtext(id::text)) % 7) * interval '1 microsecond' WHERE tenant_id = $1`,
      [tenantId],
    );
    for (const limit of [1, 2, 5, 16, 17, 18]) {
      const seen: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await withTenant(control.db, tenantId, (client) => listRuns(client, {}, { limit, cursor }));
        seen.push(...page.items.map((run) => run.id));
        cursor = page.next ?? undefined;
      } while (cursor !== undefined);
      expect(seen, `pages of ${limit}`).toHaveLength(17);
      expect(new Set(seen)).toEqual(new Set([...ids, ...backups]));
    }
    const filtered = await withTenant(control.db, tenantId, (client) =>
      listRuns(client, { kinds: ["backup"], status: "running" }, {}),
    );
    expect(new Set(filtered.items.map((run) => run.id))).toEqual(new Set(backups));
  });

  test("a bad cursor is an InvalidCursorError", async () => {
    await expect(
      withTenant(control.db, control.tenantId, (client) => listRuns(client, {}, { cursor: "nonsense" })),
    ).rejects.toThrow(InvalidCursorError);
  });
});

test("a tenant gets another's run neither to see nor to cancel", async () => {
  const foreign = await control.queuedRun({ tenantId: control.otherTenantId });
  await withTenant(control.db, control.tenantId, async (client) => {
    expect(await getRun(client, foreign)).toBeNull();
    expect(await requestCancel(client, foreign)).toBeNull();
  });
  expect((await getRun(control.db.system, foreign))?.status).toBe("queued");
});

test("a tenant cancels its own: at once while queued, by request while running, not at all when ended", async () => {
  const [queued, running, ended] = await Promise.all([control.queuedRun(), control.queuedRun(), control.queuedRun()]);
  await claimRun(control.db.system, { runId: running ?? "", worker: "w", leaseMs: 60_000 });
  await finish(ended ?? "");
  await withTenant(control.db, control.tenantId, async (client) => {
    expect(await requestCancel(client, queued ?? "")).toMatchObject({
      outcome: "cancelled",
      run: { status: "cancelled" },
    });
    expect(await requestCancel(client, running ?? "")).toMatchObject({
      outcome: "requested",
      run: { status: "running" },
    });
    expect(await requestCancel(client, ended ?? "")).toMatchObject({ outcome: "ended", run: { status: "succeeded" } });
  });
});

test("a user's recent runs are counted by kind, user and time", async () => {
  const tenantId = await newTenant(control.db, control.sourceId, randomUUID());
  await Promise.all([
    control.queuedBackup({ tenantId }),
    control.queuedBackup({ tenantId }),
    control.queuedRun({ tenantId }),
  ]);
  const count = (requestedBy: string, withinMs: number) =>
    withTenant(control.db, tenantId, (client) => countRecentRuns(client, { kinds: ["backup"], requestedBy, withinMs }));
  expect(await count("user-1", 3_600_000)).toBe(2);
  expect(await count("user-2", 3_600_000)).toBe(0);
  expect(await count("user-1", 0)).toBe(0);
});

test("the last discovery of a source is the newest that ended well", async () => {
  const { system } = control.db;
  const discovery = async (): Promise<string> =>
    createdId(await insertRun(system, newRun({ kind: "discovery", tenantId: null })));
  await finish(await discovery());
  const second = await discovery();
  await finish(second);
  await discovery();
  expect(await lastDiscovery(system, control.sourceId)).toMatchObject({ id: second, result: { tables: 3 } });
});

describe("what the sweeper finds", () => {
  test("queued runs in order, lot after lot, and none that is not yet due", async () => {
    const before = await listEnqueueable(control.db.system, { forMs: 0, limit: 500 });
    const due = [await control.queuedRun(), await control.queuedRun(), await control.queuedRun()];
    expect(await listEnqueueable(control.db.system, { forMs: 60_000, limit: 500 })).toEqual([]);
    const found: string[] = [];
    let after = before.at(-1);
    for (;;) {
      const lot = await listEnqueueable(control.db.system, {
        forMs: 0,
        limit: 2,
        ...(after === undefined ? {} : { after }),
      });
      found.push(...lot.map((run) => run.id));
      after = lot.at(-1);
      if (after === undefined) break;
    }
    expect(found).toEqual(due);
  });

  test("running runs whose lease ended", async () => {
    const [late, fresh] = [await control.queuedRun(), await control.queuedRun()];
    await claimRun(control.db.system, { runId: late, worker: "frozen", leaseMs: -1 });
    await claimRun(control.db.system, { runId: fresh, worker: "w", leaseMs: 60_000 });
    const expired = await listExpiredLeases(control.db.system, 500);
    expect(expired).toContainEqual(expect.objectContaining({ id: late, worker: "frozen" }));
    expect(expired.map((run) => run.id)).not.toContain(fresh);
  });
});
