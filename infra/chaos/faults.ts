import { setTimeout as delay } from "node:timers/promises";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import pRetry from "p-retry";
import { z } from "zod";
import { describeFault, type Fault, type PlannedFault, type ProcessName } from "./plan.ts";
import { settled } from "./settled.ts";
import { rowsOf, runSql } from "./sql.ts";
import type { SupervisedProcess } from "./supervised-process.ts";
import type { World } from "./world.ts";

export interface FaultReport {
  /** How many had what they needed (a run to pick, a process that was there). */
  readonly done: number;
  readonly failed: readonly string[];
}

/**
 * Does what the plan says, each at its moment whether the ones before have passed or not; at the end everything works again.
 * A fault that can't be done (no run is running) is said and not counted.
 */
export async function throwFaults(
  world: World,
  plan: readonly PlannedFault[],
  signal: AbortSignal,
  say: (line: string) => void,
): Promise<FaultReport> {
  const startedAt = performance.now();
  const failed: string[] = [];
  let done = 0;
  const thrown = plan.map(async ({ atMs, fault }, index) => {
    await delay(Math.max(0, atMs - (performance.now() - startedAt)), undefined, { signal });
    say(`${(atMs / 1000).toFixed(1).padStart(6)} s  ${index + 1}/${plan.length}  ${describeFault(fault)}`);
    try {
      await throwFault(world, fault, signal);
      done += 1;
    } catch (error) {
      signal.throwIfAborted();
      failed.push(`${describeFault(fault)}: ${error instanceof Error ? error.message : String(error)}`);
      say(`          not done: ${failed.at(-1)}`);
    }
  });
  try {
    await Promise.all(thrown);
  } finally {
    for (const process of world.processes.values()) process.signal("SIGCONT");
    world.network.restoreAll();
    world.storeProxy?.calm();
    await setQuotas(world, null).catch(() => {});
  }
  return { done, failed };
}

async function throwFault(world: World, fault: Fault, signal: AbortSignal): Promise<void> {
  switch (fault.kind) {
    case "kill":
      return processOf(world, fault.process).signal("SIGKILL");
    case "terminate":
      return processOf(world, fault.process).signal("SIGTERM");
    case "freeze":
      return during(fault.forMs, signal, {
        begin: () => processOf(world, fault.process).signal("SIGSTOP"),
        end: () => processOf(world, fault.process).signal("SIGCONT"),
      });
    case "expire_lease":
      return expireLease(world, fault.pick, signal);
    case "deliver_again":
      return deliverAgain(world, fault.pick, signal);
    case "restart_redis":
      return serial("redis", () => world.redis.restart());
    case "flush_redis":
      return withRedis(world, async (redis) => void (await redis.flushall()));
    case "restart_postgres":
      return serial(fault.server, () => restartPostgres(world[fault.server], fault.crash));
    case "store_full":
      return storeFull(world, fault.forMs, signal);
    case "network":
      return breakNetwork(world, fault, signal);
    default:
      return breakStore(world, fault, signal);
  }
}

async function during(
  ms: number,
  signal: AbortSignal,
  effect: { begin(): void | Promise<void>; end(): void | Promise<void> },
): Promise<void> {
  await effect.begin();
  await delay(ms, undefined, { signal }).finally(() => effect.end());
}

function processOf(world: World, name: ProcessName): SupervisedProcess {
  const found = world.processes.get(name);
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found;
}

const RunRow = z.object({ id: z.string(), kind: z.string() });

// The control database may be starting again: the fault waits for it, and a quota that stayed would be another fault.
const RESTART_RETRY = { retries: 40, minTimeout: 100, maxTimeout: 1_000 };

// While a database is away nothing runs; the fault waits for its moment.
const PICK_WITHIN_MS = 15_000;

async function pickRun(
  world: World,
  statuses: readonly string[],
  pick: number,
  signal: AbortSignal,
): Promise<z.infer<typeof RunRow>> {
  const runs = await settled(
    () =>
      rowsOf(
        world.urls.control,
        RunRow,
        "SELECT id, kind FROM runs WHERE status = ANY ($1) AND finished_at IS NULL ORDER BY created_at",
        [statuses],
      ).catch(() => []),
    (found) => found.length > 0,
    PICK_WITHIN_MS,
    signal,
    100,
  );
  const run = runs[pick % Math.max(runs.length, 1)];
  if (run === undefined) throw new Error(`no run was ${statuses.join(" or ")}`);
  return run;
}

async function expireLease(world: World, pick: number, signal: AbortSignal): Promise<void> {
  const { id } = await pickRun(world, ["running"], pick, signal);
  const statement = "UPDATE runs SET lease_until = now() - interval '1 second' WHERE id = $1 AND status = 'running'";
  await pRetry(() => runSql(world.urls.control, statement, [id]), RESTART_RETRY);
}

const QUEUE_OF: Readonly<Record<string, string>> = {
  backup: "backups",
  backup_verify: "backups",
  restore: "restores",
  restore_preview: "restores",
  discovery: "discovery",
};

/** The same run once more under another job id, so that a second worker gets it while the first one has it. */
async function deliverAgain(world: World, pick: number, signal: AbortSignal): Promise<void> {
  const run = await pickRun(world, ["queued", "running"], pick, signal);
  await withRedis(world, async (connection) => {
    const queue = new Queue(QUEUE_OF[run.kind] ?? "backups", { connection, prefix: world.queuePrefix });
    await queue.add(run.kind, { runId: run.id }, { jobId: `again-${pick}-${run.id}`, removeOnComplete: true });
    await queue.close();
  });
}

async function withRedis(world: World, fn: (redis: Redis) => Promise<void>): Promise<void> {
  const redis = new Redis(world.redis.url, { maxRetriesPerRequest: 1, retryStrategy: () => null });
  redis.on("error", () => {});
  try {
    await fn(redis);
  } finally {
    redis.disconnect();
  }
}

/** SIGQUIT is PostgreSQL's immediate shutdown: no checkpoint, every session cut, recovery from the log at the start. */
async function restartPostgres(server: World["control"], crash: boolean): Promise<void> {
  if (crash) process.kill(server.pid, "SIGQUIT");
  await server.restart();
}

const lanes = new Map<string, Promise<void>>();

/** Two restarts of one server don't overlap. */
async function serial(lane: string, fn: () => Promise<void>): Promise<void> {
  const next = (lanes.get(lane) ?? Promise.resolve()).catch(() => {}).then(fn);
  lanes.set(lane, next);
  await next;
}

async function storeFull(world: World, forMs: number, signal: AbortSignal): Promise<void> {
  const setFull = async (full: boolean): Promise<void> => {
    if (world.storeProxy === null) await setQuotas(world, full ? 1 : null);
    else world.storeProxy.weather.full = full;
  };
  await during(forMs, signal, { begin: () => setFull(true), end: () => setFull(false) });
}

async function setQuotas(world: World, bytes: number | null): Promise<void> {
  const statement = "UPDATE tenant_settings SET storage_quota_bytes = $1";
  await pRetry(() => runSql(world.urls.control, statement, [bytes]), RESTART_RETRY);
}

type StoreFault = Extract<Fault, { kind: "store_answers" | "store_loses_answers" | "store_slow" | "store_cut" }>;

async function breakStore({ storeProxy }: World, fault: StoreFault, signal: AbortSignal): Promise<void> {
  if (storeProxy === null) throw new Error("the store is a folder");
  const { weather } = storeProxy;
  if (fault.kind === "store_cut") {
    weather.cutAfterBytes = fault.afterBytes;
    return;
  }
  const change = {
    store_answers: () => (fault.kind === "store_answers" ? { status: fault.status } : {}),
    store_loses_answers: () => ({ losesAnswers: true }),
    store_slow: () => (fault.kind === "store_slow" ? { delayMs: fault.delayMs } : {}),
  }[fault.kind]();
  await during(fault.forMs, signal, {
    begin: () => void Object.assign(weather, change),
    end: () => void Object.assign(weather, { status: null, losesAnswers: false, delayMs: 0 }),
  });
}

const SLOW_MS = 150;

async function breakNetwork(
  world: World,
  fault: Extract<Fault, { kind: "network" }>,
  signal: AbortSignal,
): Promise<void> {
  const proxy = world.network.between(fault.process, fault.service);
  if (proxy === undefined) throw new Error(`${fault.process} does not speak to ${fault.service}`);
  await during(fault.forMs, signal, {
    begin: () => {
      if (fault.how === "cut") proxy.cut();
      else if (fault.how === "silent") proxy.blackhole();
      else proxy.latency(SLOW_MS);
    },
    end: () => proxy.restore(),
  });
}
