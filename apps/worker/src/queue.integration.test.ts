import { once } from "node:events";
import { connect } from "node:net";
import { insertTenant, requestCancel, withSystem } from "@rowback/db";
import { createProducer, JOBS, openQueues } from "@rowback/jobs";
import { startRedis, startTcpProxy } from "@rowback/local-services";
import { RecoveryError } from "@rowback/recovery/errors";
import { openStore } from "@rowback/storage";
import pino from "pino";
import { expect, onTestFinished, test, vi } from "vitest";
import { createRunLedger } from "./run-ledger.ts";
import { type SweeperOptions, sweepRuns } from "./sweeper.ts";
import { door, scripted, untilStopped } from "./testing/scripted-handlers.ts";
import { type WorkerFixture, workerFixture } from "./testing/worker-fixture.ts";

/** As a person with redis-cli does, or a Redis without persistence that was restarted. */
async function flushAll(redisUrl: string): Promise<void> {
  const { hostname, port } = new URL(redisUrl);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.write("FLUSHALL\r\n");
  await once(socket, "data");
  socket.destroy();
}

function sweeperOptions(fixture: WorkerFixture): SweeperOptions {
  const store = openStore(fixture.config.store);
  onTestFinished(() => store.close());
  return {
    db: fixture.db,
    control: fixture.db.system,
    producer: fixture.producer,
    store,
    workerName: "a worker",
    clock: { now: () => new Date() },
    log: pino({ level: "silent" }),
    settings: fixture.config.sweep,
  };
}

const soon = { timeout: 20_000, interval: 20 };

test("a run that was asked for is done, and its row says by whom and with what result", async () => {
  const fixture = await workerFixture("success");
  await fixture.start(scripted(async () => undefined));
  const { id } = await fixture.ask();
  const run = await fixture.until(id, "succeeded");
  expect(run).toMatchObject({ attempt: 1, worker: "test-worker", result: { rowCount: 1 }, error: null });
  expect(run.startedAt).not.toBeNull();
});

test("a retryable failure is tried again, and the row tells of it meanwhile", async () => {
  const fixture = await workerFixture("retry");
  await fixture.start(
    scripted(async (task) => {
      if (task.attempt === 1) throw new RecoveryError("source_unreachable", "no answer", { table: "public.orders" });
    }),
  );
  const { id } = await fixture.ask();
  const waiting = await vi.waitFor(async () => {
    const run = await fixture.run(id);
    expect(run).toMatchObject({ status: "queued", attempt: 1 });
    return run;
  }, soon);
  expect(waiting.error).toMatchObject({ code: "source_unreachable", retryable: true, table: "public.orders" });
  expect(waiting.availableAt.getTime()).toBeGreaterThan(Date.now());
  expect(await fixture.until(id, "succeeded")).toMatchObject({ attempt: 2, error: null });
});

test("a permanent failure ends the run with its code and hint; a retryable one when its attempts are used up", async () => {
  const fixture = await workerFixture("permanent");
  const attempts: string[] = [];
  await fixture.start(
    scripted(async ({ run }) => {
      attempts.push(run.id);
      const retryable = run.maxAttempts === 1;
      throw new RecoveryError("source_auth_failed", "wrong password", { hint: "Correct it.", retryable });
    }),
  );
  const [permanent, lastAttempt] = [await fixture.ask(), await fixture.ask({ maxAttempts: 1 })];
  const failed = await fixture.until(permanent.id, "failed");
  expect(failed.error).toEqual({
    code: "source_auth_failed",
    message: "wrong password",
    hint: "Correct it.",
    retryable: false,
  });
  await fixture.until(lastAttempt.id, "failed");
  expect(attempts.sort()).toEqual([permanent.id, lastAttempt.id].sort());
});

test("the log of a failed attempt says whose run it was, which attempt of how many, where, and what to do", async () => {
  const fixture = await workerFixture("failure-log");
  const lines: string[] = [];
  const log = pino({ level: "warn" }, { write: (line) => lines.push(line) });
  const failing = scripted(async () => {
    throw new RecoveryError("source_error", "no such column", { table: "public.orders", hint: "Run discovery." });
  });
  await fixture.start({ ...failing, log });
  const { id } = await fixture.ask({ maxAttempts: 4 });
  await fixture.until(id, "failed");
  const told = lines.map((line) => JSON.parse(line)).find(({ msg }) => msg === "the attempt failed");
  const { tenantId, sourceId } = fixture;
  expect(told).toMatchObject({ runId: id, tenantId, sourceId, kind: "backup_verify", attempt: 1, maxAttempts: 4 });
  const failure = { code: "source_error", message: "no such column", table: "public.orders", hint: "Run discovery." };
  expect(told.failure).toMatchObject({ ...failure, retryable: false });
});

test("a defect does not let its words into the row or the log, which says where it happened", async () => {
  const fixture = await workerFixture("defect");
  const lines: string[] = [];
  const failing = scripted(async () => {
    throw new TypeError("the row of secret@example.org is not a function");
  });
  await fixture.start({ ...failing, log: pino({ level: "warn" }, { write: (line) => lines.push(line) }) });
  const { id } = await fixture.ask();
  const { error } = await fixture.until(id, "failed");
  expect(error).toMatchObject({ code: "internal", retryable: false });
  expect(JSON.stringify(error)).not.toContain("secret");
  const told = lines.find((line) => line.includes("the attempt failed"));
  expect(told).toContain(id);
  expect(JSON.parse(told ?? "{}").error).toMatchObject({ name: "TypeError", frames: expect.anything() });
  expect(told).toContain("queue.integration.test.ts");
  expect(told).not.toContain("secret");
});

test("a running run that somebody cancels stops within two seconds and is not tried again", async () => {
  const fixture = await workerFixture("cancel");
  await fixture.start(scripted((task) => untilStopped(task.signal)));
  const { id } = await fixture.ask();
  await fixture.until(id, "running");
  const askedAt = performance.now();
  await requestCancel(fixture.db.system, id);
  await fixture.until(id, "cancelled");
  expect(performance.now() - askedAt).toBeLessThan(2_000);
  expect(await fixture.run(id)).toMatchObject({ attempt: 1, error: null });
});

test("a queued run that was cancelled never begins", async () => {
  const fixture = await workerFixture("cancel-queued");
  const script = vi.fn(async () => undefined);
  const cancelled = await fixture.ask();
  await requestCancel(fixture.db.system, cancelled.id);
  await fixture.start(scripted(script));
  const other = await fixture.ask();
  await fixture.until(other.id, "succeeded");
  expect(await fixture.run(cancelled.id)).toMatchObject({ status: "cancelled", attempt: 0 });
  expect(script).toHaveBeenCalledTimes(1);
});

test("a worker that lost its lease can't write its outcome over its successor's", async () => {
  const fixture = await workerFixture("fencing");
  const gate = door();
  const worker = await fixture.start(
    scripted(() => gate.opened),
    { sweep: { ...fixture.config.sweep, everyMs: 3_600_000 } },
  );
  const { id } = await fixture.ask();
  await fixture.until(id, "running");
  // As if this process had been frozen for longer than its lease.
  await fixture.db.system.query({
    text: "UPDATE runs SET lease_until = now() - interval '1 second' WHERE id = $1",
    values: [id],
  });
  const successor = createRunLedger(fixture.db, fixture.db.system, "successor");
  const claim = await successor.claim(id);
  expect(claim).toMatchObject({ attempt: 2 });
  gate.open();
  await worker.close();
  expect(await fixture.run(id)).toMatchObject({ status: "running", worker: "successor", result: null });
  if (claim === null) return;
  const result = { backupId: id, manifestSha256: "1".repeat(64), rowCount: 42, rawBytes: 0 };
  expect(await successor.succeed(claim, { kind: "backup_verify", result })).toBe(true);
  expect(await fixture.run(id)).toMatchObject({ status: "succeeded", result: { rowCount: 42 } });
});

test("the sweeper takes a dead worker's run back, and fails it when no attempt is left", async () => {
  const fixture = await workerFixture("dead-worker");
  const [again, last] = [await fixture.insert(), await fixture.insert({ maxAttempts: 1 })];
  const dead = createRunLedger(fixture.db, fixture.db.system, "dead worker", { leaseMs: 1 });
  for (const run of [again, last]) expect(await dead.claim(run.id)).not.toBeNull();
  await fixture.start(scripted(async () => undefined));
  expect(await fixture.until(again.id, "succeeded")).toMatchObject({ attempt: 2, worker: "test-worker" });
  expect((await fixture.until(last.id, "failed")).error).toMatchObject({ code: "lease_lost" });
});

test("a run that takes worker after worker with it is not tried again, whatever attempts are left", async () => {
  const fixture = await workerFixture("crash-loop");
  const { id } = await fixture.insert({ maxAttempts: 20 });
  const dying = createRunLedger(fixture.db, fixture.db.system, "dying worker", { leaseMs: 1 });
  for (const after of ["queued", "queued", "failed"] as const) {
    expect(await dying.claim(id)).not.toBeNull();
    await sweepRuns(sweeperOptions(fixture), new AbortController().signal);
    expect((await fixture.run(id)).status).toBe(after);
  }
  expect(await fixture.run(id)).toMatchObject({ attempt: 3, error: { code: "crash_loop", retryable: false } });
});

test("one tenant's hundreds of runs don't stand before another's single one, and each is done once", async () => {
  const fixture = await workerFixture("fair");
  const order: (string | null)[] = [];
  await fixture.start(
    scripted(async ({ run }) => {
      order.push(run.tenantId);
      // Long enough for the other's request to come between.
      await fixture.db.system.query({ text: "SELECT pg_sleep(0.02)" });
    }),
    { concurrency: 2, limits: { perTenant: 2, perSource: 10 } },
  );
  await Promise.all(Array.from({ length: 200 }, () => fixture.ask()));
  const other = await insertTenant(fixture.db.system, { sourceId: fixture.sourceId, key: "zenith", name: "Zenith" });
  if (other === null) throw new Error("the tenant's key was taken");
  const begun = order.length;
  expect(begun).toBeLessThan(150);
  const single = await fixture.ask({ tenantId: other.id });
  await fixture.until(single.id, "succeeded");
  // Those that were begun while it was being asked for, and one round of the hands.
  expect(order.indexOf(other.id) - begun).toBeLessThan(20);
  await vi.waitFor(() => expect(order).toHaveLength(201), { ...soon, timeout: 40_000 });
});

test("the same run delivered twice, by two queues to two workers, is done once", async () => {
  const fixture = await workerFixture("twice");
  const script = vi.fn(async () => undefined);
  const elsewhere = `${fixture.config.queuePrefix}-second`;
  await fixture.start(scripted(script), { workerName: "first" });
  await fixture.start(scripted(script), { workerName: "second", queuePrefix: elsewhere });
  const producer = createProducer({ redisUrl: fixture.config.redisUrl, prefix: elsewhere });
  onTestFinished(() => producer.close());
  const runs = await Promise.all(Array.from({ length: 30 }, () => fixture.insert()));
  await Promise.all(runs.flatMap((run) => [fixture.enqueue(run), producer.enqueue(run.kind, { runId: run.id })]));
  await Promise.all(runs.map((run) => fixture.until(run.id, "succeeded")));
  expect(script).toHaveBeenCalledTimes(30);
});

test("a wiped Redis loses no run", async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const fixture = await workerFixture("flushall", { redisUrl: redis.url });
  const gate = door();
  const done: string[] = [];
  await fixture.start(
    scripted(async ({ run }) => {
      await gate.opened;
      done.push(run.id);
    }),
    { concurrency: 1 },
  );
  const runs = await Promise.all(Array.from({ length: 20 }, () => fixture.ask()));
  await vi.waitFor(async () => {
    const states = await Promise.all(runs.map(async ({ id }) => (await fixture.run(id)).status));
    expect(states.filter((status) => status === "running")).toHaveLength(1);
  }, soon);
  await flushAll(redis.url);
  gate.open();
  await Promise.all(runs.map(({ id }) => fixture.until(id, "succeeded", 40_000)));
  expect(done.sort()).toEqual(runs.map(({ id }) => id).sort());
});

test("a Redis that is away and comes back finds the worker waiting; a run asked for meanwhile is done", async () => {
  const redis = await startRedis();
  const proxy = await startTcpProxy({ port: Number(new URL(redis.url).port) });
  onTestFinished(async () => {
    await proxy.close();
    await redis.stop();
  });
  const fixture = await workerFixture("redis-away", { redisUrl: proxy.through(redis.url) });
  await fixture.start(scripted(async () => undefined));
  await fixture.until((await fixture.ask()).id, "succeeded");
  proxy.cut();
  const { id, kind } = await fixture.insert();
  await expect(fixture.enqueue({ id, kind })).rejects.toMatchObject({ name: "QueueUnavailableError" });
  expect(await fixture.run(id)).toMatchObject({ status: "queued" });
  proxy.restore();
  await fixture.until(id, "succeeded", 40_000);
});

test("without Redis a worker ends all the same, and hands its run back", async () => {
  const redis = await startRedis();
  const proxy = await startTcpProxy({ port: Number(new URL(redis.url).port) });
  onTestFinished(async () => {
    await proxy.close();
    await redis.stop();
  });
  const fixture = await workerFixture("redis-gone", { redisUrl: proxy.through(redis.url) });
  const worker = await fixture.start(scripted((task) => untilStopped(task.signal)));
  const { id } = await fixture.ask();
  await fixture.until(id, "running");
  proxy.cut();
  await worker.close();
  expect(await fixture.run(id)).toMatchObject({ status: "queued", attempt: 0 });
});

test("twenty thousand rows without a job are enqueued within one sweep", async () => {
  const fixture = await workerFixture("many");
  await withSystem(fixture.db, (client) =>
    client.query({
      text: `INSERT INTO runs (id, kind, tenant_id, source_id, max_attempts, requested_by, available_at)
SELECT gen_random_uuid(), 'backup_verify', $1, $2, 1, 'user-1', now() - interval '1 minute' FROM generate_series(1, 20000)`,
      values: [fixture.tenantId, fixture.sourceId],
    }),
  );
  const options = sweeperOptions(fixture);
  const signal = new AbortController().signal;
  // Two workers sweep at once: one does it all, the other leaves it alone.
  await Promise.all([sweepRuns(options, signal), sweepRuns(options, signal)]);
  const queues = openQueues({ redisUrl: fixture.config.redisUrl, prefix: fixture.config.queuePrefix });
  onTestFinished(() => queues.close());
  const { queue } = JOBS.backup_verify;
  expect(await queues.depths()).toContainEqual({ queue, state: "waiting", jobs: 20_000 });
});
