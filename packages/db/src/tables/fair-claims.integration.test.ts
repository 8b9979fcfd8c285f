import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type ControlFixture, controlFixture, newSource, newTenant } from "../testing/control-fixture.ts";
import { claimFairRuns, type FairClaim, hasDueRuns } from "./fair-claims.ts";
import { postponeRun, succeedRun } from "./run-claims.ts";
import type { ClaimedRun } from "./run-row.ts";
import { insertRun } from "./runs.ts";

const KINDS = ["backup", "backup_verify"] as const;

let control: ControlFixture;
beforeEach(async () => {
  control = await controlFixture("fair");
});
afterEach(() => control.close());

/** So many queued verifications of one tenant, the oldest first, in one statement. */
async function queue(tenantId: string, count: number, sourceId = control.sourceId): Promise<void> {
  await control.db.system.query({
    text: `INSERT INTO runs (id, kind, tenant_id, source_id, max_attempts, requested_by, available_at)
SELECT gen_random_uuid(), 'backup_verify', $1, $2, 3, 'user-1', now() - interval '1 hour' + n * interval '1 millisecond'
FROM generate_series(1, $3) n`,
    values: [tenantId, sourceId, count],
  });
}

function claim(more: Partial<FairClaim> = {}): Promise<ClaimedRun[]> {
  return claimFairRuns(control.db.system, {
    kinds: KINDS,
    wanted: 1,
    worker: "w",
    leaseMs: 60_000,
    perTenant: 1_000,
    perSource: 1_000,
    shutSources: [],
    ...more,
  });
}

/** One claim after the other, as one worker makes them. */
async function claimsInTurn(count: number, more: Partial<FairClaim> = {}): Promise<ClaimedRun[]> {
  const claims: ClaimedRun[] = [];
  for (let turn = 0; turn < count; turn += 1) {
    const last = claims.at(-1);
    const after =
      last === undefined ? undefined : { sourceId: last.sourceId, tenantId: last.tenantId ?? last.sourceId };
    claims.push(...(await claim({ after, ...more })));
  }
  return claims;
}

async function succeed(run: ClaimedRun): Promise<void> {
  expect(await succeedRun(control.db.system, { runId: run.id, attemptToken: run.attemptToken }, null)).toBe(true);
}

test("a tenant's single run comes right after the one that is under way, however many another has queued", async () => {
  await queue(control.tenantId, 5_000);
  const before = await claimsInTurn(3);
  expect(new Set(before.map((run) => run.tenantId))).toEqual(new Set([control.tenantId]));
  await queue(control.otherTenantId, 1);
  const last = before.at(-1);
  const after = { sourceId: control.sourceId, tenantId: last?.tenantId ?? "" };
  const next = await claim({ wanted: 2, after });
  expect(next.map((run) => run.tenantId)).toContain(control.otherTenantId);
});

test("tenants of several sources take turns, each with its oldest run first", async () => {
  const otherSource = await newSource(control.db);
  const third = await newTenant(control.db, otherSource, "third");
  for (const [tenantId, sourceId] of [
    [control.tenantId, control.sourceId],
    [control.otherTenantId, control.sourceId],
    [third, otherSource],
  ] as const)
    await queue(tenantId, 20, sourceId);
  const claims = await claimsInTurn(30);
  for (let round = 0; round < 30; round += 3) {
    expect(new Set(claims.slice(round, round + 3).map((run) => run.tenantId)).size).toBe(3);
  }
  const ofThird = claims.filter((run) => run.tenantId === third).map((run) => run.availableAt.getTime());
  expect(ofThird).toEqual(ofThird.toSorted((a, b) => a - b));
  expect(claims.every((run) => run.attempt === 1)).toBe(true);
});

test("one claim of many gets the same order as many claims of one", async () => {
  await queue(control.tenantId, 10);
  await queue(control.otherTenantId, 2);
  const claims = await claim({ wanted: 8 });
  expect(claims).toHaveLength(8);
  expect(new Set(claims.slice(0, 2).map((run) => run.tenantId)).size).toBe(2);
  expect(new Set(claims.slice(2, 4).map((run) => run.tenantId)).size).toBe(2);
});

test("a tenant never has more running than it may, and its others wait without losing an attempt", async () => {
  await queue(control.tenantId, 50);
  await queue(control.otherTenantId, 1);
  const first = await claim({ wanted: 10, perTenant: 3 });
  expect(first.filter((run) => run.tenantId === control.tenantId)).toHaveLength(3);
  expect(first.filter((run) => run.tenantId === control.otherTenantId)).toHaveLength(1);
  expect(await claim({ wanted: 10, perTenant: 3 })).toEqual([]);
  expect(await hasDueRuns(control.db.system, KINDS)).toBe(true);
  for (const run of first.slice(0, 1)) await succeed(run);
  expect((await claim({ wanted: 10, perTenant: 3 })).length).toBeLessThanOrEqual(1);
  const { rows } = await control.db.system.query({
    text: "SELECT max(attempt) AS most FROM runs WHERE status = 'queued'",
  });
  expect(rows).toEqual([{ most: 0 }]);
});

test("twenty workers that claim at once don't pass a limit together", async () => {
  await Promise.all([queue(control.tenantId, 200), queue(control.otherTenantId, 200)]);
  const claims = await Promise.all(Array.from({ length: 20 }, () => claim({ wanted: 2, perTenant: 5, perSource: 7 })));
  expect(claims.flat()).toHaveLength(7);
  expect(new Set(claims.flat().map((run) => run.id)).size).toBe(7);
});

test("a source at its limit, or one that must wait, holds up only its own tenants", async () => {
  const otherSource = await newSource(control.db);
  const elsewhere = await newTenant(control.db, otherSource, "elsewhere");
  await Promise.all([queue(control.tenantId, 10), queue(control.otherTenantId, 10), queue(elsewhere, 10, otherSource)]);
  expect(await claim({ wanted: 20, perSource: 4 })).toHaveLength(8);
  const shut = await claim({ wanted: 20, shutSources: [control.sourceId] });
  expect(new Set(shut.map((run) => run.sourceId))).toEqual(new Set([otherSource]));
  expect(shut).toHaveLength(6);
});

test("other kinds neither come nor count", async () => {
  await queue(control.tenantId, 3);
  const { system } = control.db;
  const { tenantId, sourceId } = control;
  const asked = { sourceId, maxAttempts: 1, requestedBy: "user-1" };
  await insertRun(system, { ...asked, kind: "discovery", tenantId: null });
  expect(await claim({ wanted: 10, perTenant: 3 })).toHaveLength(3);
  const discoveries = await claim({ kinds: ["discovery"], wanted: 10, perTenant: 1 });
  expect(discoveries).toMatchObject([{ kind: "discovery", tenantId: null, sourceId }]);
  expect(await hasDueRuns(system, KINDS)).toBe(false);
  await queue(tenantId, 1);
  expect(await hasDueRuns(system, KINDS)).toBe(true);
});

test("what is not due, and a part that its own run is about to take, is left alone", async () => {
  const { system } = control.db;
  const { tenantId, sourceId } = control;
  const insertDue = async (inTime: string, parentRunId: string | null = null): Promise<string> => {
    const id = randomUUID();
    await system.query({
      text: `INSERT INTO runs (id, kind, tenant_id, source_id, max_attempts, requested_by, parent_run_id, available_at)
VALUES ($1, 'backup_verify', $2, $3, 1, 'user-1', $4, now() + $5::interval)`,
      values: [id, tenantId, sourceId, parentRunId, inTime],
    });
    return id;
  };
  await queue(tenantId, 1);
  const [parent] = await claim();
  if (parent === undefined) throw new Error("expected a run");
  await insertDue("1 minute");
  await insertDue("0 seconds", parent.id);
  expect(await claim({ wanted: 10 })).toEqual([]);
  expect(await hasDueRuns(system, KINDS)).toBe(false);
  // Its parent's worker died between writing the row and taking it.
  const left = await insertDue("-11 seconds", parent.id);
  expect(await claim({ wanted: 10 })).toMatchObject([{ id: left }]);
});

test("a postponed run is queued with its attempt given back, due later", async () => {
  await queue(control.tenantId, 1);
  const [run] = await claim();
  if (run === undefined) throw new Error("expected a run");
  const error = { code: "source_unreachable", message: "no answer", retryable: true };
  const held = { runId: run.id, attemptToken: run.attemptToken };
  expect(await postponeRun(control.db.system, held, { delayMs: 60_000, error })).toMatchObject({ status: "queued" });
  expect(await claim()).toEqual([]);
  const { rows } = await control.db.system.query({ text: "SELECT attempt, error FROM runs" });
  expect(rows).toEqual([{ attempt: 0, error }]);
});

test("the next place in a ring of five thousand tenants is found by the index, not by looking at them all", async () => {
  const { system } = control.db;
  const values = [control.sourceId];
  await system.query({
    text: `INSERT INTO tenants (id, source_id, key, name)
SELECT gen_random_uuid(), $1, 'many ' || n, 'many' FROM generate_series(1, 5000) n`,
    values,
  });
  await system.query({
    text: `INSERT INTO runs (id, kind, tenant_id, source_id, max_attempts, requested_by)
SELECT gen_random_uuid(), 'backup_verify', t.id, $1, 3, 'user-1' FROM tenants t WHERE t.name = 'many'`,
    values,
  });
  const entriesRead = async (): Promise<number> => {
    // Every connection of the pool tells what it counted.
    await Promise.all(
      Array.from({ length: 8 }, () => system.query({ text: "SELECT pg_stat_force_next_flush(), pg_sleep(0.05)" })),
    );
    const { rows } = await control.database.pool.query(
      "SELECT sum(idx_tup_read)::int AS entries FROM pg_stat_user_indexes WHERE relname = 'runs'",
    );
    return Number(rows[0].entries);
  };
  const before = await entriesRead();
  expect(await claimsInTurn(50)).toHaveLength(50);
  expect((await entriesRead()) - before).toBeLessThan(50 * 200);
});
