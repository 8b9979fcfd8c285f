import { type ClaimedRun, type ControlDatabase, openControlDatabase } from "@rowback/db";
import {
  createConsumer,
  createProducer,
  describeError,
  type Handlers,
  openQueues,
  type RunLedger,
  throttledErrors,
} from "@rowback/jobs";
import type { Clock } from "@rowback/recovery";
import { openStore, type RetryOptions } from "@rowback/storage";
import type { Logger } from "pino";
import { startCaptures } from "./capture.ts";
import { createCaptureMetrics } from "./capture-metrics.ts";
import type { Config } from "./config.ts";
import { controlQueries } from "./control.ts";
import { createBreakers, PROBE_MS, postponeMs, unwellFor } from "./dependencies.ts";
import { classify } from "./failure.ts";
import type { WorkerContext } from "./handlers/worker-context.ts";
import { createHandlers } from "./handlers.ts";
import { openKeyRing } from "./key-ring.ts";
import { createLog } from "./log.ts";
import { createMetrics } from "./metrics.ts";
import { startMonitorServer } from "./monitor-server.ts";
import type { Outcomes, RunOutcome } from "./outcomes.ts";
import { readMasterKeys } from "./read-master-keys.ts";
import { readReadiness } from "./readiness.ts";
import { startBreakerReports } from "./report-breakers.ts";
import { createRunLedger } from "./run-ledger.ts";
import { SourcePool } from "./source-pool.ts";
import { startSweeper } from "./sweeper.ts";
import { workerStore } from "./worker-store.ts";

export interface RunningWorker {
  /** Of /healthz and /metrics. */
  readonly monitorPort: number;
  /**
   * Takes no more runs, lets the active ones end within the grace period, hands the others back, and closes everything.
   * Called again, it ends the grace period at once.
   */
  close(): Promise<void>;
}

export interface WorkerOptions {
  readonly log?: Logger;
  readonly clock?: Clock;
  /** In place of the real handlers: the queue's benchmark and tests. */
  readonly handlers?: (worker: WorkerContext) => Handlers<ClaimedRun, Outcomes>;
  /** What the benchmark of fairness puts in place of it: claims without fairness. */
  readonly claimFair?: (db: ControlDatabase) => RunLedger<ClaimedRun, RunOutcome>["claimFair"];
}

/** Starts one worker in this process. Resolves when it takes runs. */
export async function startWorker(config: Config, options: WorkerOptions = {}): Promise<RunningWorker> {
  const log = options.log ?? createLog(config.logLevel, { worker: config.workerName });
  const clock = options.clock ?? { now: () => new Date() };
  const onRedisError = throttledErrors(log, "Redis does not answer");
  const location = { redisUrl: config.redisUrl, prefix: config.queuePrefix };
  const applicationName = `rowback worker ${config.workerName}`;

  const masterKeys = await readMasterKeys(config.masterKeys);
  const db = openControlDatabase({
    url: config.databaseUrl,
    maxConnections: config.databaseConnections,
    applicationName,
    onIdleError: (error) => log.warn({ error: describeError(error) }, "a connection to the control database was lost"),
  });
  const control = controlQueries(db);
  const keys = masterKeys === undefined ? undefined : openKeyRing(control, masterKeys, config.workerName);
  const breakers = createBreakers(config.breakers, log);
  const bareStore = openStore(config.store);
  const { store, leased: leasedStore } = workerStore(
    bareStore,
    storeRetry(log),
    breakers.of("store", () => bareStore.probe({ signal: AbortSignal.timeout(PROBE_MS) })),
  );
  const sources = new SourcePool({
    control,
    secretKey: config.secretKey,
    resolveSecret: config.resolveSecret,
    maxConnections: config.sourceConnections,
    applicationName,
    breakers,
  });
  const producer = createProducer({ ...location, onError: onRedisError });
  const queues = openQueues(location, onRedisError);
  const { compression } = config;
  const logWaitMs = config.capture.waitMs;
  const worker: WorkerContext = { db, control, store, leasedStore, sources, keys, compression, clock, log, logWaitMs };

  const ledger = createRunLedger(db, control, config.workerName, {
    leaseMs: config.leaseMs,
    limits: config.limits,
    unwell: (queue) => unwellFor(queue, breakers),
  });
  const metrics = createMetrics({ queues, breakers, activeRuns: () => consumer.activeRuns });
  const consumer = createConsumer({
    ...location,
    concurrency: { backups: config.concurrency, restores: config.concurrency, discovery: config.concurrency },
    handlers: (options.handlers ?? createHandlers)(worker),
    ledger: options.claimFair === undefined ? ledger : { ...ledger, claimFair: options.claimFair(db) },
    timeoutsMs: config.timeoutsMs,
    postponeMs: (failure) => postponeMs(failure, breakers),
    leaseMs: config.leaseMs,
    classify,
    log,
    logFields: ({ tenantId, sourceId }) => ({ tenantId, sourceId }),
    observe: metrics.observe,
  });
  const sweeper = startSweeper({
    ...{ db, control, producer, store, clock, log },
    workerName: config.workerName,
    settings: config.sweep,
  });
  const captures = startCaptures({
    worker,
    workerName: config.workerName,
    settings: config.capture,
    metrics: createCaptureMetrics(metrics.registry),
    enqueue: async (runIds) => {
      // Their rows stand: what Redis does not take now, the sweeper delivers.
      await producer.ensureEnqueued(runIds.map((runId) => ({ name: "backup", runId }))).catch(onRedisError);
    },
  });
  const monitor = await startMonitorServer({
    host: config.host,
    port: config.metricsPort,
    registry: metrics.registry,
    readiness: () =>
      readReadiness({
        database: () => db.system.query({ text: "SELECT 1" }),
        redis: () => queues.ping(),
        breakers,
      }),
  });
  const reports = startBreakerReports({ control, workerName: config.workerName, breakers, log });
  await consumer.ready();
  log.info({ monitorPort: monitor.port, concurrency: config.concurrency }, "the worker takes runs");

  let closing: Promise<void> | null = null;
  const closeAll = async (): Promise<void> => {
    log.info({ activeRuns: consumer.activeRuns, graceMs: config.graceMs }, "the worker takes no more runs");
    await Promise.all([
      consumer.close({ graceMs: config.graceMs }),
      sweeper.close(),
      captures.close(),
      reports.close(),
    ]);
    breakers.close();
    await Promise.allSettled([sources.close(), producer.close(), queues.close(), monitor.close()]);
    await Promise.allSettled([store.close(), db.close()]);
    log.info({}, "the worker has ended");
  };
  return {
    monitorPort: monitor.port,
    close: () => {
      if (closing === null) closing = closeAll();
      else void consumer.close({ graceMs: 0 });
      return closing;
    },
  };
}

// A store that hiccups is asked again for some ten seconds; one that is down is the job's to try again later.
const STORE_RETRY = { attempts: 5, minDelayMs: 200, maxDelayMs: 5_000 };

function storeRetry(log: Logger): RetryOptions {
  return {
    ...STORE_RETRY,
    onRetry: ({ operation, attempt, delayMs, error }) =>
      log.warn({ operation, attempt, delayMs, error: describeError(error) }, "the object store is asked again"),
  };
}
