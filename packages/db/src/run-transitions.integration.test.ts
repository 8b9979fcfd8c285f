import { afterAll, beforeAll, expect, test } from "vitest";
import { hasEnded, RUN_EVENTS, RUN_STATES, RUN_TRANSITIONS, type RunState } from "./run-states.ts";
import { type ControlFixture, controlFixture } from "./testing/control-fixture.ts";

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("transitions");
});
afterAll(() => control.close());

/** The columns that a state needs, so that only the transition itself can be refused. */
const COLUMNS: Record<RunState, string> = {
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

async function runIn(state: RunState): Promise<string> {
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

test.each(RUN_STATES.filter((state) => state !== "queued"))("a run can't begin %s", async (state) => {
  const template = await control.queuedRun();
  await expect(
    control.database.pool.query(
      `INSERT INTO runs (id, kind, tenant_id, source_id, max_attempts, requested_by, status, attempt_token, lease_until, worker, finished_at, error)
SELECT gen_random_uuid(), kind, tenant_id, source_id, max_attempts, requested_by, $2, ${state === "running" ? "gen_random_uuid(), now(), 'w', NULL" : "NULL, NULL, NULL, now()"}, '{}'
FROM runs WHERE id = $1`,
      [template, state],
    ),
  ).rejects.toMatchObject({ constraint: "runs_begin_queued" });
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
