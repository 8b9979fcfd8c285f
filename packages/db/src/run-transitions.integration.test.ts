import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { hasEnded, RUN_EVENTS, RUN_STATES, RUN_TRANSITIONS, type RunState } from "./run-states.ts";
import { insertRestoreRun } from "./tables/restores.ts";
import { updateTenantRules } from "./tables/tenant-settings.ts";
import { withTenant } from "./tenant-context.ts";
import { type ControlFixture, controlFixture, createdId, newTenant } from "./testing/control-fixture.ts";

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("transitions");
});
afterAll(() => control.close());

/** The columns that a state needs, so that only the transition itself can be refused. */
const COLUMNS: Record<RunState, string> = {
  awaiting_approval: "attempt_token = NULL, lease_until = NULL, finished_at = NULL",
  queued: "attempt_token = NULL, lease_until = NULL, finished_at = NULL",
  running: "attempt_token = gen_random_uuid(), lease_until = now(), worker = 'w', finished_at = NULL",
  succeeded: "attempt_token = NULL, lease_until = NULL, finished_at = now()",
  failed: "attempt_token = NULL, lease_until = NULL, finished_at = now(), error = '{}'",
  cancelled: "attempt_token = NULL, lease_until = NULL, finished_at = now()",
};

async function move(runId: string, to: RunState): Promise<"allowed" | "refused"> {
  try {
    await control.database.pool.query(`UPDATE runs SET status = $2, ${COLUMNS[to]} WHERE id = $1`, [runId, to]);
    return "allowed";
  } catch (error) {
    expect(error).toMatchObject({ code: "23514", constraint: "runs_allow_only_known_transitions" });
    return "refused";
  }
}

/** A restore that waits and that a second person has agreed to: all that is left is the transition. */
async function approvedRestore(): Promise<string> {
  const { db, sourceId, database } = control;
  const tenantId = await newTenant(db, sourceId, randomUUID());
  await withTenant(db, tenantId, (client) => updateTenantRules(client, { restoresNeedApproval: true }));
  const runId = createdId(
    await insertRestoreRun(
      db.system,
      { kind: "restore", tenantId, sourceId, maxAttempts: 1, requestedBy: "user-1" },
      {
        targetSourceId: sourceId,
        backupId: await control.queuedBackup({ tenantId }),
        mode: "exact",
        tables: null,
        keys: null,
      },
    ),
  );
  await database.pool.query(
    "UPDATE restore_jobs SET approval_decision = 'approved', approval_decided_by = 'user-2', approval_decided_at = now() WHERE run_id = $1",
    [runId],
  );
  return runId;
}

async function runIn(state: RunState): Promise<string> {
  if (state === "awaiting_approval") return approvedRestore();
  const runId = await control.queuedRun();
  if (state === "queued") return runId;
  await move(runId, "running");
  if (state !== "running") await move(runId, state);
  return runId;
}

const PAIRS = RUN_STATES.flatMap((from) => RUN_STATES.map((to) => [from, to] as const));

test.each(PAIRS)("the database and the table agree on %s → %s", async (from, to) => {
  const known = RUN_EVENTS.some((event) => RUN_TRANSITIONS[from][event] === to);
  expect(await move(await runIn(from), to)).toBe(known ? "allowed" : "refused");
});

test.each(RUN_STATES.filter((state) => !["awaiting_approval", "queued"].includes(state)))(
  "a run can't begin %s",
  async (state) => {
    const template = await control.queuedRun();
    await expect(
      control.database.pool.query(
        `INSERT INTO runs (id, kind, tenant_id, source_id, max_attempts, requested_by, status, attempt_token, lease_until, worker, finished_at, error)
SELECT gen_random_uuid(), kind, tenant_id, source_id, max_attempts, requested_by, $2, ${state === "running" ? "gen_random_uuid(), now(), 'w', NULL" : "NULL, NULL, NULL, now()"}, '{}'
FROM runs WHERE id = $1`,
        [template, state],
      ),
    ).rejects.toMatchObject({ constraint: "runs_begin_queued" });
  },
);

test("only a restore can wait for approval", async () => {
  const template = await control.queuedRun();
  await expect(
    control.database.pool.query(
      `INSERT INTO runs (id, kind, tenant_id, source_id, max_attempts, requested_by, status)
SELECT gen_random_uuid(), kind, tenant_id, source_id, max_attempts, requested_by, 'awaiting_approval' FROM runs WHERE id = $1`,
      [template],
    ),
  ).rejects.toMatchObject({ constraint: "only_restores_await_approval" });
});

test("nothing of an ended run changes any more, not even its result", async () => {
  for (const state of RUN_STATES.filter(hasEnded)) {
    const runId = await runIn(state);
    await expect(
      control.database.pool.query(`UPDATE runs SET result = '{"forged": true}' WHERE id = $1`, [runId]),
      state,
    ).rejects.toMatchObject({ code: "23514" });
  }
});
