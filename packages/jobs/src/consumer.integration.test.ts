import { randomUUID } from "node:crypto";
import { testRedis } from "@rowback/local-services/testing";
import { expect, onTestFinished, test, vi } from "vitest";
import { JOBS, type JobName } from "./catalog.ts";
import { type Consumer, createConsumer } from "./consumer.ts";
import { createProducer, type Producer } from "./producer.ts";
import { type OpenQueues, openQueues } from "./queues.ts";
import type { Handlers } from "./run-executor.ts";
import { MemoryLedger, type MemoryRun } from "./testing/memory-ledger.ts";
import {
  type AnyHandler,
  type AnyOutcomes,
  classify,
  handlersOf,
  silent,
  TestFailure,
  untilStopped,
} from "./testing/task-kit.ts";

interface Bench {
  readonly ledger: MemoryLedger;
  readonly producer: Producer;
  readonly queues: OpenQueues;
  consume(
    handler: AnyHandler,
    others?: Partial<Handlers<MemoryRun, AnyOutcomes>>,
    options?: { readonly watchMs: number },
  ): Consumer;
  jobState(name: JobName, runId: string): Promise<string>;
}

function bench(): Bench {
  const { url: redisUrl, prefix } = testRedis();
  const location = { redisUrl, prefix };
  const ledger = new MemoryLedger();
  const producer = createProducer(location);
  const queues = openQueues(location);
  const consumers: Consumer[] = [];
  onTestFinished(async () => {
    await Promise.all(consumers.map((consumer) => consumer.close({ graceMs: 0 })));
    await producer.close();
    await queues.close();
  });
  return {
    ledger,
    producer,
    queues,
    consume: (handler, others, { watchMs } = { watchMs: 100 }) => {
      const consumer = createConsumer<MemoryRun, AnyOutcomes>({
        ...location,
        concurrency: { backups: 4, restores: 2, discovery: 1 },
        handlers: handlersOf(handler, others),
        ledger,
        classify,
        log: silent,
        watchMs,
      });
      consumers.push(consumer);
      return consumer;
    },
    jobState: async (name, runId) => {
      const queue = queues.queues.find((candidate) => candidate.name === JOBS[name].queue);
      return (await queue?.getJobState(runId)) ?? "unknown";
    },
  };
}

const soon = { timeout: 10_000, interval: 20 };

test("a run goes through its queue and ends; its job is kept for the board", async () => {
  const { ledger, producer, consume, jobState } = bench();
  consume(async () => "done");
  const runs = (["backup", "restore", "discovery", "restore_preview", "backup_verify"] as const).map((name) => ({
    name,
    run: ledger.add({ name }),
  }));
  for (const { name, run } of runs) expect(await producer.enqueue(name, { runId: run.id })).toBe(run.id);
  await vi.waitFor(() => expect(runs.map(({ run }) => run.status)).toEqual(runs.map(() => "succeeded")), soon);
  await vi.waitFor(async () => expect(await jobState("backup", runs[0]?.run.id ?? "")).toBe("completed"), soon);
});

test("a retryable failure comes back by itself after the wait that the row was given", async () => {
  const { ledger, producer, consume, jobState } = bench();
  const run = ledger.add({ name: "discovery" });
  consume(async (task) => {
    if (task.attempt === 1) throw new TestFailure("the store is down", true);
    return "done";
  });
  await producer.enqueue("discovery", { runId: run.id });
  await vi.waitFor(() => expect(run).toMatchObject({ status: "queued", attempt: 1 }), soon);
  await vi.waitFor(async () => expect(await jobState("discovery", run.id)).toBe("delayed"), soon);
  await vi.waitFor(() => expect(run).toMatchObject({ status: "succeeded", attempt: 2 }), soon);
});

test("a permanent failure and a cancelled run are not tried again", async () => {
  const { ledger, producer, consume, jobState } = bench();
  const [failing, cancelled] = [ledger.add(), ledger.add()];
  consume(async (task) => {
    if (task.run === failing) throw new TestFailure("no such table", false);
    return await untilStopped(task.signal);
  });
  await producer.enqueue("backup", { runId: failing.id });
  await producer.enqueue("backup", { runId: cancelled.id });
  await vi.waitFor(() => expect(cancelled.status).toBe("running"), soon);
  cancelled.cancelRequested = true;
  await vi.waitFor(async () => {
    expect(await jobState("backup", failing.id)).toBe("failed");
    expect(await jobState("backup", cancelled.id)).toBe("failed");
  }, soon);
  expect([failing, cancelled]).toMatchObject([
    { status: "failed", attempt: 1 },
    { status: "cancelled", attempt: 1 },
  ]);
});

test("a cancellation that somebody tells of reaches the worker though it does not look by itself", async () => {
  const { ledger, producer, consume } = bench();
  const run = ledger.add();
  const consumer = consume((task) => untilStopped(task.signal), {}, { watchMs: 3_600_000 });
  await consumer.ready();
  await producer.enqueue("backup", { runId: run.id });
  await vi.waitFor(() => expect(run.status).toBe("running"), soon);
  run.cancelRequested = true;
  await producer.tellOfCancellation(run.id);
  await vi.waitFor(() => expect(run.status).toBe("cancelled"), soon);
});

test("a database that is away at the claim costs a wait, not the run", async () => {
  const { ledger, producer, consume, jobState } = bench();
  const run = ledger.add();
  ledger.down = true;
  consume(async () => "done");
  await producer.enqueue("backup", { runId: run.id });
  await vi.waitFor(async () => expect(await jobState("backup", run.id)).toBe("delayed"), soon);
  ledger.down = false;
  await vi.waitFor(() => expect(run).toMatchObject({ status: "succeeded", attempt: 1 }), soon);
});

test("closing hands a run back to another worker, at once and without counting the attempt", async () => {
  const { ledger, producer, consume } = bench();
  const run = ledger.add();
  const first = consume((task) => untilStopped(task.signal));
  await producer.enqueue("backup", { runId: run.id });
  await vi.waitFor(() => expect(first.activeRuns).toBe(1), soon);
  await first.close({ graceMs: 0 });
  expect(run).toMatchObject({ status: "queued", attempt: 0 });
  consume(async () => "done by the second");
  await vi.waitFor(
    () => expect(run).toMatchObject({ status: "succeeded", attempt: 1, outcome: "done by the second" }),
    soon,
  );
});

test("closing a worker whose hands wait for their turn gives the tickets back", async () => {
  const { ledger, producer, queues, consume } = bench();
  ledger.most = 0;
  const runs = Array.from({ length: 3 }, () => ledger.add());
  const consumer = consume(async () => "done");
  for (const { id } of runs) await producer.enqueue("backup", { runId: id });
  await vi.waitFor(() => expect(ledger.asked.at(-1)?.wanted).toBe(3), soon);
  await consumer.close({ graceMs: 600_000 });
  expect(await queues.depths()).toContainEqual({ queue: "backups", state: "waiting", jobs: 3 });
  expect(runs.map(({ status, attempt }) => [status, attempt])).toEqual(runs.map(() => ["queued", 0]));
});

test("a second close ends the grace period", async () => {
  const { ledger, producer, consume } = bench();
  const run = ledger.add();
  const consumer = consume((task) => untilStopped(task.signal));
  await producer.enqueue("backup", { runId: run.id });
  await vi.waitFor(() => expect(consumer.activeRuns).toBe(1), soon);
  const closed = consumer.close({ graceMs: 600_000 });
  await consumer.close({ graceMs: 600_000 });
  await closed;
  expect(run).toMatchObject({ status: "queued", attempt: 0 });
});

test("ensureEnqueued brings back lost jobs, replaces finished ones and leaves live ones alone", async () => {
  const { ledger, producer, queues, consume, jobState } = bench();
  const finished = ledger.add({ maxAttempts: 9 });
  const worker = consume(async () => "done");
  await producer.enqueue("backup", { runId: finished.id });
  await vi.waitFor(async () => expect(await jobState("backup", finished.id)).toBe("completed"), soon);
  await worker.close({ graceMs: 0 });

  const [waiting, lost] = [ledger.add(), ledger.add()];
  await producer.enqueue("backup", { runId: waiting.id });
  ledger.takeBack(finished);
  const requests = [finished, waiting, lost].map((run) => ({ name: "backup" as const, runId: run.id }));
  expect(await producer.ensureEnqueued(requests)).toBe(2);
  expect(await producer.ensureEnqueued(requests)).toBe(0);
  expect(await queues.depths()).toContainEqual({ queue: "backups", state: "waiting", jobs: 3 });

  consume(async () => "done");
  await vi.waitFor(() => expect([finished, waiting, lost].every((run) => run.status === "succeeded")).toBe(true), soon);
});

test("ensureEnqueued of ten thousand runs takes a second or two, and nothing when all are there", async () => {
  const { producer, queues } = bench();
  const requests = Array.from({ length: 10_000 }, () => ({ name: "backup" as const, runId: randomUUID() }));
  for (let at = 0; at < requests.length; at += 1_000) {
    expect(await producer.ensureEnqueued(requests.slice(at, at + 1_000))).toBe(1_000);
  }
  for (let at = 0; at < requests.length; at += 1_000) {
    expect(await producer.ensureEnqueued(requests.slice(at, at + 1_000))).toBe(0);
  }
  expect(await queues.depths()).toContainEqual({ queue: "backups", state: "waiting", jobs: 10_000 });
});

test("a producer without Redis fails within seconds and says what happens to the run", async () => {
  const producer = createProducer({ redisUrl: "redis://127.0.0.1:1", prefix: "nowhere" });
  onTestFinished(() => producer.close());
  const startedAt = performance.now();
  await expect(producer.enqueue("backup", { runId: randomUUID() })).rejects.toMatchObject({
    name: "QueueUnavailableError",
  });
  expect(performance.now() - startedAt).toBeLessThan(4_000);
});

test("Redis keeps only so many finished jobs", async () => {
  const { queues } = bench();
  for (const queue of queues.queues) {
    expect(queue.defaultJobOptions.removeOnComplete).toMatchObject({
      count: expect.any(Number),
      age: expect.any(Number),
    });
    expect(queue.defaultJobOptions.removeOnFail).toMatchObject({ count: expect.any(Number), age: expect.any(Number) });
  }
});
