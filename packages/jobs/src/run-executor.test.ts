import { afterEach, expect, test, vi } from "vitest";
import { RunStopped } from "./active-runs.ts";
import type { Handlers } from "./run-executor.ts";
import { RunExecutor } from "./run-executor.ts";
import type { MemoryRun } from "./testing/memory-ledger.ts";
import { MemoryLedger } from "./testing/memory-ledger.ts";
import {
  type AnyHandler,
  type AnyOutcomes,
  classify,
  handlersOf,
  silent,
  TestFailure,
  untilStopped,
} from "./testing/task-kit.ts";

const executors: RunExecutor<MemoryRun, AnyOutcomes>[] = [];
afterEach(async () => {
  for (const executor of executors.splice(0)) await executor.drain({ graceMs: 0, stopMs: 100 });
});

function executorOf(
  ledger: MemoryLedger,
  handler: AnyHandler,
  others: Partial<Handlers<MemoryRun, AnyOutcomes>> = {},
): RunExecutor<MemoryRun, AnyOutcomes> {
  const executor = new RunExecutor<MemoryRun, AnyOutcomes>({
    handlers: handlersOf(handler, others),
    ledger,
    classify,
    log: silent,
    leaseMs: 300,
    watchMs: 20,
  });
  executors.push(executor);
  return executor;
}

test("a run is claimed, handled and recorded", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  const executor = executorOf(ledger, async (task) => ({ attempt: task.attempt }));
  expect(await executor.execute("backups")).toEqual({ end: "succeeded" });
  expect(run).toMatchObject({ status: "succeeded", outcome: { attempt: 1 } });
});

test("a run that was delivered twice is done once", async () => {
  const ledger = new MemoryLedger();
  ledger.add();
  const handler = vi.fn(async () => "done");
  const [one, two] = [executorOf(ledger, handler), executorOf(ledger, handler)];
  const ends = await Promise.all([one.execute("backups"), two.execute("backups")]);
  expect(ends.map((verdict) => verdict.end).sort()).toEqual(["refused", "succeeded"]);
  expect(handler).toHaveBeenCalledTimes(1);
  expect(await one.execute("backups")).toEqual({ end: "refused" });
});

test("a retryable failure goes back to queued until the attempts are used up", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add({ maxAttempts: 2 });
  const executor = executorOf(ledger, async () => {
    throw new TestFailure("the store is down", true);
  });
  const first = await executor.execute("backups");
  expect(first).toMatchObject({ end: "retry", failure: { code: "test", message: "the store is down" } });
  expect(run).toMatchObject({ status: "queued", attempt: 1 });
  run.availableAt = Date.now();
  expect(await executor.execute("backups")).toMatchObject({ end: "failed" });
  expect(run).toMatchObject({ status: "failed", attempt: 2 });
});

test("a permanent failure ends the run at its first attempt", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  const executor = executorOf(ledger, async () => {
    throw new TestFailure("no such table", false);
  });
  expect(await executor.execute("backups")).toMatchObject({ end: "failed" });
  expect(run).toMatchObject({ status: "failed", attempt: 1, failure: { message: "no such table" } });
});

test("a cancelled run ends cancelled, whatever its handler throws on the way out", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  const executor = executorOf(ledger, async (task) => {
    await untilStopped(task.signal).catch(() => {
      throw new TestFailure("the statement was cancelled", true);
    });
  });
  const end = executor.execute("backups");
  await vi.waitFor(() => expect(run.status).toBe("running"));
  run.cancelRequested = true;
  expect(await end).toEqual({ end: "cancelled" });
  expect(run.status).toBe("cancelled");
});

test("who lost the lease stops, and can't write the outcome", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  let stoppedBy: unknown;
  const executor = executorOf(ledger, async (task) => {
    await untilStopped(task.signal).catch((reason: unknown) => {
      stoppedBy = reason;
    });
    return "too late";
  });
  const end = executor.execute("backups");
  await vi.waitFor(() => expect(run.status).toBe("running"));
  ledger.takeBack(run);
  expect(await end).toEqual({ end: "lost" });
  expect(stoppedBy).toMatchObject({ why: "lease_lost" });
  expect(run).toMatchObject({ status: "queued", outcome: undefined });
});

test("a lost lease is noticed at the next renewal, long before it would have ended", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  const executor = new RunExecutor<MemoryRun, AnyOutcomes>({
    handlers: handlersOf((task) => untilStopped(task.signal)),
    ledger,
    classify,
    log: silent,
    leaseMs: 3_000,
    watchMs: 20,
  });
  executors.push(executor);
  const startedAt = performance.now();
  const end = executor.execute("backups");
  await vi.waitFor(() => expect(run.status).toBe("running"));
  ledger.takeBack(run);
  expect(await end).toEqual({ end: "lost" });
  expect(performance.now() - startedAt).toBeLessThan(2_900);
});

test("a database that does not answer for a whole lease stops the run, because somebody else may have it", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  const executor = executorOf(ledger, (task) => untilStopped(task.signal));
  const end = executor.execute("backups");
  await vi.waitFor(() => expect(run.status).toBe("running"));
  ledger.down = true;
  expect(await end).toEqual({ end: "lost" });
});

test("the outcome outlives a database that is away for a moment", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  const executor = new RunExecutor<MemoryRun, AnyOutcomes>({
    handlers: handlersOf(async () => "done"),
    ledger,
    classify,
    log: silent,
  });
  executors.push(executor);
  const succeed = ledger.succeed.bind(ledger);
  vi.spyOn(ledger, "succeed").mockRejectedValueOnce(new Error("connection terminated")).mockImplementation(succeed);
  expect(await executor.execute("backups")).toEqual({ end: "succeeded" });
  expect(run.status).toBe("succeeded");
});

test("a database that is away at the claim leaves the run as it is, to be tried again", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  ledger.down = true;
  const executor = executorOf(ledger, async () => "done");
  expect(await executor.execute("backups")).toMatchObject({ end: "unavailable" });
  expect(run).toMatchObject({ status: "queued", attempt: 0 });
});

test("leases are renewed for all active runs at once", async () => {
  const ledger = new MemoryLedger();
  const runs = Array.from({ length: 20 }, () => ledger.add());
  let finish = (): void => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const executor = executorOf(ledger, () => finished);
  const ends = Promise.all(runs.map(() => executor.execute("backups")));
  await vi.waitFor(() => expect(ledger.renewals).toBeGreaterThanOrEqual(4), { timeout: 3_000 });
  finish();
  expect((await ends).every((verdict) => verdict.end === "succeeded")).toBe(true);
  expect(ledger.renewals).toBeLessThan(20);
});

test("shutdown lets a run end within its grace period", async () => {
  const ledger = new MemoryLedger();
  ledger.add();
  let finish = (): void => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const executor = executorOf(ledger, () => finished);
  const end = executor.execute("backups");
  await vi.waitFor(() => expect(executor.activeRuns).toBe(1));
  const drained = executor.drain({ graceMs: 5_000, stopMs: 100 });
  finish();
  expect(await drained).toBe(0);
  expect(await end).toEqual({ end: "succeeded" });
});

test("shutdown hands back what did not end in time, and no attempt is counted", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  const executor = executorOf(ledger, (task) => untilStopped(task.signal));
  const end = executor.execute("backups");
  await vi.waitFor(() => expect(executor.activeRuns).toBe(1));
  expect(await executor.drain({ graceMs: 30, stopMs: 1_000 })).toBe(0);
  expect(await end).toEqual({ end: "released" });
  expect(run).toMatchObject({ status: "queued", attempt: 0 });
  expect(await executor.execute("backups")).toEqual({ end: "released" });
});

test("a run that does not stop keeps its lease: handing it back would let two work on it", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  const executor = executorOf(ledger, () => new Promise<never>(() => {}));
  void executor.execute("backups");
  await vi.waitFor(() => expect(executor.activeRuns).toBe(1));
  expect(await executor.drain({ graceMs: 10, stopMs: 50 })).toBe(1);
  expect(run.status).toBe("running");
});

test("a child run is claimed, handled and recorded under its parent", async () => {
  const ledger = new MemoryLedger();
  const [parent, child] = [ledger.add({ name: "restore" }), ledger.add({ maxAttempts: 1, isChild: true })];
  const executor = executorOf(ledger, async () => "backed up", {
    restore: async (task) => ({ before: await task.runChild("backup", child.id) }),
  });
  expect(await executor.execute("restores")).toEqual({ end: "succeeded" });
  expect(child).toMatchObject({ status: "succeeded", outcome: "backed up" });
  expect(parent.outcome).toEqual({ before: "backed up" });
});

test("a child's failure ends the child and decides about the parent", async () => {
  const ledger = new MemoryLedger();
  const [parent, child] = [ledger.add({ name: "restore" }), ledger.add({ maxAttempts: 1, isChild: true })];
  const failing: AnyHandler = async () => {
    throw new TestFailure("the store is down", true);
  };
  const executor = executorOf(ledger, failing, { restore: (task) => task.runChild("backup", child.id) });
  expect(await executor.execute("restores")).toMatchObject({ end: "retry" });
  expect(child.status).toBe("failed");
  expect(parent.status).toBe("queued");
});

test.each(["cancel", "shutdown"] as const)("a child ends with its parent: %s", async (how) => {
  const ledger = new MemoryLedger();
  const [parent, child] = [ledger.add({ name: "restore" }), ledger.add({ maxAttempts: 1, isChild: true })];
  const executor = executorOf(ledger, (task) => untilStopped(task.signal), {
    restore: (task) => task.runChild("backup", child.id),
  });
  const end = executor.execute("restores");
  await vi.waitFor(() => expect(child.status).toBe("running"));
  if (how === "cancel") parent.cancelRequested = true;
  else await executor.drain({ graceMs: 0, stopMs: 1_000 });
  expect((await end).end).toBe(how === "cancel" ? "cancelled" : "released");
  expect(child.status).toBe("cancelled");
});

test("cancelling the child cancels the parent: a restore without its pre-restore backup must not go on", async () => {
  const ledger = new MemoryLedger();
  ledger.add({ name: "restore" });
  const child = ledger.add({ maxAttempts: 1, isChild: true });
  const executor = executorOf(ledger, (task) => untilStopped(task.signal), {
    restore: (task) => task.runChild("backup", child.id),
  });
  const end = executor.execute("restores");
  await vi.waitFor(() => expect(child.status).toBe("running"));
  child.cancelRequested = true;
  expect(await end).toEqual({ end: "cancelled" });
  expect(child.status).toBe("cancelled");
});

test("progress reaches the row with an estimate", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  const executor = executorOf(ledger, async (task) => {
    task.report({ phase: "copy", share: 0.5, tables: [] });
    await vi.waitFor(() => expect(run.progress).toHaveLength(1));
  });
  expect(await executor.execute("backups")).toEqual({ end: "succeeded" });
  expect(run.progress[0]).toMatchObject({ phase: "copy", share: 0.5, etaMs: expect.any(Number) });
});

test("an attempt that takes longer than its kind may is stopped, and costs the attempt", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  let stoppedBy: unknown;
  const executor = new RunExecutor<MemoryRun, AnyOutcomes>({
    handlers: handlersOf((task) =>
      untilStopped(task.signal).catch((reason: unknown) => {
        stoppedBy = reason;
        throw new TestFailure("the statement was cancelled", false);
      }),
    ),
    ledger,
    classify: (error) => ({ code: "late", message: String(error), retryable: error instanceof RunStopped }),
    log: silent,
    timeoutsMs: { backup: 30 },
  });
  executors.push(executor);
  expect(await executor.execute("backups")).toMatchObject({ end: "retry", failure: { code: "late" } });
  expect(stoppedBy).toMatchObject({ why: "timed_out" });
  expect(run).toMatchObject({ status: "queued", attempt: 1 });
});

test("a run whose failure is not its own waits, and no attempt is counted, also of the last one", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add({ maxAttempts: 1 });
  const executor = new RunExecutor<MemoryRun, AnyOutcomes>({
    handlers: handlersOf(async () => {
      throw new TestFailure("the store is down", true);
    }),
    ledger,
    classify,
    log: silent,
    postponeMs: (failure, { id }) => (failure.code === "test" && id === run.id ? 60_000 : null),
  });
  executors.push(executor);
  expect(await executor.execute("backups")).toMatchObject({ end: "postponed", delayMs: 60_000 });
  expect(run).toMatchObject({ status: "queued", attempt: 0, failure: { code: "test" } });
  expect(run.availableAt).toBeGreaterThan(Date.now() + 50_000);
});

test("of a cancellation that somebody tells of, the database is asked at once", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  const executor = new RunExecutor<MemoryRun, AnyOutcomes>({
    handlers: handlersOf((task) => untilStopped(task.signal)),
    ledger,
    classify,
    log: silent,
    watchMs: 3_600_000,
  });
  executors.push(executor);
  const end = executor.execute("backups");
  await vi.waitFor(() => expect(executor.activeRuns).toBe(1));
  await executor.hearOfCancellation(run.id);
  expect(run.status).toBe("running");
  run.cancelRequested = true;
  await executor.hearOfCancellation(run.id);
  expect(await end).toEqual({ end: "cancelled" });
});
