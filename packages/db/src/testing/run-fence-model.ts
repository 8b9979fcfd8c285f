import fc from "fast-check";
import type pg from "pg";
import { expect } from "vitest";
import type { Queryable } from "../control-database.ts";
import type { RunState } from "../run-states.ts";
import {
  cancelRun,
  claimRun,
  failRun,
  postponeRun,
  recordProgress,
  releaseRun,
  renewLeases,
  requeueRun,
  succeedRun,
} from "../tables/run-claims.ts";
import type { RunClaim } from "../tables/run-row.ts";
import { takeBackExpiredRuns } from "../tables/run-sweep.ts";
import { requestCancel } from "../tables/runs.ts";

/** What one run must look like, told in memory. `holder` is a number into the claims made so far. */
export interface FenceModel {
  status: RunState;
  attempt: number;
  maxAttempts: number;
  holder: number | null;
  leaseEnded: boolean;
  cancelRequested: boolean;
  claims: number;
  crashes: number;
}

/** The same run in a real database. */
export interface FenceReal {
  readonly system: Queryable;
  readonly owner: pg.Pool;
  readonly runId: string;
  readonly claims: RunClaim[];
}

type Command = fc.AsyncCommand<FenceModel, FenceReal>;

const ERROR = { code: "store_error", message: "boom", retryable: true };
const HOUR_MS = 3_600_000;
const MOST_CRASHES = 3;

/** After every command the row must be what the model says, and only the holder's token may be in it. */
function command(name: string, possible: (model: FenceModel) => boolean, run: Command["run"]): Command {
  return {
    check: possible,
    toString: () => name,
    run: async (model, real) => {
      await run(model, real);
      const { rows } = await real.owner.query(
        "SELECT status, attempt, attempt_token, cancel_requested_at IS NOT NULL AS cancel_requested FROM runs WHERE id = $1",
        [real.runId],
      );
      expect(rows[0], `after ${name}`).toEqual({
        status: model.status,
        attempt: model.attempt,
        attempt_token: model.holder === null ? null : real.claims[model.holder]?.attemptToken,
        cancel_requested: model.cancelRequested,
      });
    },
  };
}

function end(model: FenceModel, status: RunState): void {
  Object.assign(model, { status, holder: null, leaseEnded: false });
}

/** Queued again, or what else a run becomes that is given back. */
function giveBack(model: FenceModel): void {
  if (model.cancelRequested) end(model, "cancelled");
  else end(model, model.attempt < model.maxAttempts ? "queued" : "failed");
}

const claim = (rivals: number): Command =>
  command(
    `claim by ${rivals}`,
    () => true,
    async (model, real) => {
      const tried = Array.from({ length: rivals }, (_, index) =>
        claimRun(real.system, { runId: real.runId, worker: `w${index}`, leaseMs: HOUR_MS }),
      );
      const won = (await Promise.all(tried)).filter((run) => run !== null);
      const free = model.status === "queued" || (model.status === "running" && model.leaseEnded);
      if (free && model.cancelRequested) {
        expect(won).toEqual([]);
        end(model, "cancelled");
      } else if (free && model.attempt < model.maxAttempts) {
        expect(won).toHaveLength(1);
        for (const run of won) real.claims.push({ runId: run.id, attemptToken: run.attemptToken });
        Object.assign(model, {
          status: "running",
          attempt: model.attempt + 1,
          holder: model.claims,
          leaseEnded: false,
        });
        model.claims += 1;
      } else {
        expect(won).toEqual([]);
      }
    },
  );

type Writer = "the holder" | "one who lost it";

/** Which claim that is, or null while there is none such. */
function claimOf(writer: Writer, model: FenceModel): number | null {
  if (writer === "the holder") return model.holder;
  const lost = model.holder === null ? model.claims - 1 : model.holder - 1;
  return lost < 0 ? null : lost;
}

/** A write under a token: it must take effect for the holder and for nobody else. */
function writeBy(
  name: string,
  writer: Writer,
  attempt: (system: Queryable, claim: RunClaim) => Promise<boolean>,
  effect: (model: FenceModel) => void,
): Command {
  return command(
    `${name} by ${writer}`,
    (model) => claimOf(writer, model) !== null,
    async (model, real) => {
      const mine = real.claims[claimOf(writer, model) ?? -1];
      if (mine === undefined) throw new Error("the model counts the claims");
      expect(await attempt(real.system, mine), `${name} by ${writer}`).toBe(writer === "the holder");
      if (writer === "the holder") effect(model);
    },
  );
}

/** Writes after which the run goes on. */
const continuing: readonly ((writer: Writer) => Command)[] = [
  (writer) =>
    writeBy(
      "renew",
      writer,
      async (system, mine) => (await renewLeases(system, [mine], HOUR_MS)).length === 1,
      (model) => Object.assign(model, { leaseEnded: false }),
    ),
  (writer) =>
    writeBy(
      "progress",
      writer,
      async (system, mine) => (await recordProgress(system, mine, { share: 0.5 })) !== null,
      () => undefined,
    ),
  (writer) =>
    writeBy(
      "requeue",
      writer,
      async (system, mine) => (await requeueRun(system, mine, { delayMs: 0, error: ERROR })) !== null,
      giveBack,
    ),
  (writer) =>
    writeBy(
      "release",
      writer,
      async (system, mine) => (await releaseRun(system, mine)) !== null,
      (model) => {
        model.attempt -= 1;
        giveBack(model);
      },
    ),
  (writer) =>
    writeBy(
      "postpone",
      writer,
      async (system, mine) => (await postponeRun(system, mine, { delayMs: 0, error: ERROR })) !== null,
      (model) => {
        model.attempt -= 1;
        giveBack(model);
      },
    ),
];

const ending: readonly ((writer: Writer) => Command)[] = [
  (writer) =>
    writeBy(
      "succeed",
      writer,
      (system, mine) => succeedRun(system, mine, { by: writer }),
      (model) => end(model, "succeeded"),
    ),
  (writer) =>
    writeBy(
      "fail",
      writer,
      (system, mine) => failRun(system, mine, ERROR),
      (model) => end(model, "failed"),
    ),
  (writer) =>
    writeBy(
      "cancel",
      writer,
      (system, mine) => cancelRun(system, mine),
      (model) => {
        model.cancelRequested = true;
        end(model, "cancelled");
      },
    ),
];

const userCancels: Command = command(
  "a user cancels",
  () => true,
  async (model, real) => {
    const result = await requestCancel(real.system, real.runId);
    if (model.status === "queued") {
      expect(result?.outcome).toBe("cancelled");
      model.cancelRequested = true;
      end(model, "cancelled");
    } else if (model.status === "running") {
      expect(result?.outcome).toBe("requested");
      model.cancelRequested = true;
    } else {
      expect(result?.outcome).toBe("ended");
    }
  },
);

const leaseEnds: Command = command(
  "the lease ends",
  (model) => model.status === "running",
  async (model, real) => {
    await real.owner.query("UPDATE runs SET lease_until = now() - interval '1 second' WHERE id = $1", [real.runId]);
    model.leaseEnded = true;
  },
);

const sweep: Command = command(
  "the sweeper comes by",
  () => true,
  async (model, real) => {
    const taken = await takeBackExpiredRuns(real.system, {
      limit: 100,
      error: ERROR,
      crashes: { most: MOST_CRASHES, error: ERROR },
    });
    if (model.status !== "running" || !model.leaseEnded) {
      expect(taken.map((run) => run.id)).not.toContain(real.runId);
      return;
    }
    model.crashes += 1;
    if (model.crashes < MOST_CRASHES || model.cancelRequested) giveBack(model);
    else end(model, "failed");
    expect(taken).toContainEqual(expect.objectContaining({ id: real.runId, status: model.status }));
  },
);

/** Mostly claims, losses and writes with old tokens; what ends a run is rare, or every story would be short. */
const LIVELY: readonly Command[] = [
  ...[claim(1), claim(1), claim(1), claim(3), leaseEnds, leaseEnds, sweep],
  ...continuing.flatMap((write) => [write("the holder"), write("one who lost it")]),
  ...ending.map((write) => write("one who lost it")),
];
const LAST: readonly Command[] = [userCancels, ...ending.map((write) => write("the holder"))];

export const fenceCommands: fc.Arbitrary<Command>[] = [...LIVELY, ...LIVELY, ...LIVELY, ...LAST].map((one) =>
  fc.constant(one),
);
