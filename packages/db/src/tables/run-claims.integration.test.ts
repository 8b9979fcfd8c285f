import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ControlFixture, controlFixture } from "../testing/control-fixture.ts";
import { type FenceModel, type FenceReal, fenceCommands } from "../testing/run-fence-model.ts";
import { claimRun, failRun, recordProgress, renewLeases, succeedRun } from "./run-claims.ts";
import type { RunClaim } from "./run-row.ts";
import { getRun, requestCancel } from "./runs.ts";

// DESIGN §5.7: a run is fenced. One worker holds it, and whoever lost it writes nothing.

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("fence");
});
afterAll(() => control.close());

const ERROR = { code: "internal", message: "boom", retryable: false };

async function claimed(runId: string, leaseMs = 60_000): Promise<RunClaim> {
  const run = await claimRun(control.db.system, { runId, worker: "w", leaseMs });
  if (run === null) throw new Error("expected to get the run");
  return { runId, attemptToken: run.attemptToken };
}

describe("the fence", () => {
  test("holds for any order of what workers, users, the sweeper and time do", async () => {
    const setup = async (maxAttempts: number): Promise<{ model: FenceModel; real: FenceReal }> => {
      const runId = await control.queuedRun({ maxAttempts });
      return {
        model: {
          status: "queued",
          attempt: 0,
          maxAttempts,
          holder: null,
          leaseEnded: false,
          cancelRequested: false,
          claims: 0,
          crashes: 0,
        },
        real: { system: control.db.system, owner: control.database.pool, runId, claims: [] },
      };
    };
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(1, 3, 20),
        fc.commands(fenceCommands, { maxCommands: 60, size: "max" }),
        async (maxAttempts, commands) => {
          const { model, real } = await setup(maxAttempts);
          await fc.asyncModelRun(() => ({ model, real }), commands);
        },
      ),
      { numRuns: 60 },
    );
  }, 120_000);

  test("of twenty workers at once, one gets the run", async () => {
    const runId = await control.queuedRun();
    const claims = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        claimRun(control.db.system, { runId, worker: `worker-${index}`, leaseMs: 60_000 }),
      ),
    );
    const won = claims.filter((claim) => claim !== null);
    expect(won).toHaveLength(1);
    expect(won[0]).toMatchObject({ status: "running", attempt: 1 });
  });

  test("with leases ending under many workers at once, every run gets exactly one outcome, its last holder's", async () => {
    const runs = await Promise.all(Array.from({ length: 12 }, () => control.queuedRun({ maxAttempts: 100 })));
    const outcomes = new Map<string, string[]>(runs.map((runId) => [runId, []]));
    const worker = async (name: string, first: number): Promise<void> => {
      for (let turn = first; [...outcomes.values()].some((written) => written.length === 0); turn += 1) {
        const runId = runs[turn % runs.length] ?? "";
        // Two workers in three freeze: their lease is over before their work is.
        const run = await claimRun(control.db.system, { runId, worker: name, leaseMs: turn % 3 === 0 ? 60_000 : -1 });
        if (run === null) continue;
        await recordProgress(control.db.system, { runId, attemptToken: run.attemptToken }, { worker: name });
        const wrote = await succeedRun(
          control.db.system,
          { runId, attemptToken: run.attemptToken },
          { token: run.attemptToken },
        );
        if (wrote) outcomes.get(runId)?.push(run.attemptToken);
      }
    };
    await Promise.all(Array.from({ length: 6 }, (_, index) => worker(`worker-${index}`, index * 5)));
    for (const [runId, written] of outcomes) {
      expect(written).toHaveLength(1);
      expect((await getRun(control.db.system, runId))?.result).toEqual({ token: written[0] });
    }
  });

  test("a worker renews all its leases in one statement, learns what it lost and what is to be cancelled", async () => {
    const [kept, lost, unwanted] = await Promise.all([1, 2, 3].map(async () => claimed(await control.queuedRun(), -1)));
    if (kept === undefined || lost === undefined || unwanted === undefined) throw new Error("three runs");
    await claimed(lost.runId);
    await requestCancel(control.db.system, unwanted.runId);

    const renewed = await renewLeases(control.db.system, [kept, lost, unwanted], 60_000);

    expect(renewed).toHaveLength(2);
    expect(renewed).toContainEqual({ ...kept, cancelRequested: false });
    expect(renewed).toContainEqual({ ...unwanted, cancelRequested: true });
    const run = await getRun(control.db.system, kept.runId);
    expect(run?.leaseUntil?.getTime()).toBeGreaterThan(Date.now() + 30_000);
  });

  test("a failure is recorded whatever characters its message carries", async () => {
    const claim = await claimed(await control.queuedRun());
    expect(
      await failRun(control.db.system, claim, { ...ERROR, message: "bad byte \u0000, half an emoji \ud83d" }),
    ).toBe(true);
    expect((await getRun(control.db.system, claim.runId))?.error?.message).toBe(
      "bad byte \ufffd, half an emoji \ufffd",
    );
  });
});
