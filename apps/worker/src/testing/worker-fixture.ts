import { randomBytes, randomUUID } from "node:crypto";
import {
  type ControlDatabase,
  getRun,
  insertBackupRun,
  insertRun,
  insertSource,
  insertTenant,
  migrate,
  openControlDatabase,
  type Run,
} from "@rowback/db";
import { createProducer, JOBS, type JobName, type Producer } from "@rowback/jobs";
import { testDatabase, testFolder, testRedis } from "@rowback/local-services/testing";
import pino from "pino";
import { expect, onTestFinished, vi } from "vitest";
import type { Config } from "../config.ts";
import { CAPTURE_SETTINGS, environmentSecrets } from "../config.ts";
import { type RunningWorker, startWorker, type WorkerOptions } from "../worker.ts";

/** A control database, a Redis prefix and a store of its own, with one source and one tenant, for one test. */
export interface WorkerFixture {
  readonly db: ControlDatabase;
  readonly config: Config;
  readonly producer: Producer;
  readonly sourceId: string;
  readonly tenantId: string;
  /** Starts a worker in this process; it is closed with the test. */
  start(options?: WorkerOptions, config?: Partial<Config>): Promise<RunningWorker>;
  /** Writes a queued run (a verification of nothing in particular, unless told) and leaves the queue alone. */
  insert(options?: AskedRun): Promise<Run>;
  /** `insert`, then the job. */
  ask(options?: AskedRun): Promise<Run>;
  enqueue(run: { readonly id: string; readonly kind: JobName }): Promise<void>;
  run(runId: string): Promise<Run>;
  /** Waits until the run is in this state. */
  until(runId: string, status: Run["status"], timeoutMs?: number): Promise<Run>;
}

interface AskedRun {
  readonly kind?: "backup_verify" | "backup" | "discovery";
  readonly maxAttempts?: number;
  /** The fixture's tenant unless told. */
  readonly tenantId?: string;
  /** Of a discovery; the fixture's source unless told. */
  readonly sourceId?: string;
}

export interface FixtureOptions {
  /** `postgres://` of the source; a closed port unless told. */
  readonly sourceUrl?: string;
  readonly tenantKey?: string;
  readonly redisUrl?: string;
}

export async function workerFixture(name: string, options: FixtureOptions = {}): Promise<WorkerFixture> {
  const control = await testDatabase(name);
  await migrate(control.url);
  const redis = testRedis();
  const config: Config = {
    workerName: "test-worker",
    databaseUrl: control.url,
    databaseConnections: 4,
    redisUrl: options.redisUrl ?? redis.url,
    queuePrefix: redis.prefix,
    store: { driver: "filesystem", root: testFolder() },
    secretKey: randomBytes(32),
    masterKeys: null,
    resolveSecret: environmentSecrets({ SOURCE_URL: options.sourceUrl ?? "postgres://nobody@127.0.0.1:1/nothing" }),
    host: "127.0.0.1",
    metricsPort: 0,
    concurrency: 4,
    limits: { perTenant: 100, perSource: 100 },
    breakers: { failures: 5, resetMs: 60_000 },
    timeoutsMs: {},
    compression: "gzip",
    sourceConnections: 4,
    graceMs: 0,
    leaseMs: 30_000,
    logLevel: "silent",
    capture: { ...CAPTURE_SETTINGS, segment: { bytes: 16 * 1_048_576, ms: 100 }, lookEveryMs: 200, watchTablesMs: 200 },
    sweep: {
      everyMs: 200,
      queuedForMs: 500,
      garbageEveryMs: 3_600_000,
      garbageGraceMs: 3_600_000,
      unfinishedGraceMs: 3_600_000,
    },
  };
  const db = openControlDatabase({ url: control.url, maxConnections: 4, applicationName: "rowback worker test" });
  const producer = createProducer({ redisUrl: config.redisUrl, prefix: config.queuePrefix });
  const workers: RunningWorker[] = [];
  onTestFinished(async () => {
    await Promise.all(workers.map((worker) => worker.close()));
    await producer.close();
    await db.close();
  });
  const source = await insertSource(db.system, {
    name: "source",
    connection: { kind: "reference", reference: "env:SOURCE_URL" },
    tenancy: { mode: "column", column: "tenant_id" },
  });
  const sourceId = source?.id ?? "";
  const tenant = await insertTenant(db.system, { sourceId, key: options.tenantKey ?? "acme", name: "Acme" });
  const tenantId = tenant?.id ?? "";

  const fixture: WorkerFixture = {
    db,
    config,
    producer,
    sourceId,
    tenantId,
    start: async (workerOptions = {}, changes = {}) => {
      const worker = await startWorker({ ...config, ...changes }, { log: pino({ level: "silent" }), ...workerOptions });
      workers.push(worker);
      return worker;
    },
    insert: async ({
      kind = "backup_verify",
      maxAttempts = JOBS[kind].attempts,
      tenantId: of = tenantId,
      sourceId: at = sourceId,
    } = {}) => {
      const asked = { sourceId: at, maxAttempts, requestedBy: "user-1" };
      const result =
        kind === "backup"
          ? await insertBackupRun(
              db.system,
              { ...asked, tenantId: of, params: { tables: null, purpose: "manual" } },
              { type: "full", purpose: "manual", tables: null },
            )
          : await insertRun(db.system, {
              ...asked,
              kind,
              tenantId: kind === "discovery" ? null : of,
              params: kind === "discovery" ? {} : { backupId: randomUUID() },
            });
      if (result.outcome !== "created") throw new Error(`expected a new run, got ${result.outcome}`);
      return result.run;
    },
    ask: async (asked) => {
      const run = await fixture.insert(asked);
      await fixture.enqueue(run);
      return run;
    },
    enqueue: async ({ id, kind }) => {
      await producer.enqueue(kind, { runId: id });
    },
    run: async (runId) => {
      const run = await getRun(db.system, runId);
      if (run === null) throw new Error(`no run ${runId}`);
      return run;
    },
    until: (runId, status, timeoutMs = 20_000) =>
      vi.waitFor(
        async () => {
          const run = await fixture.run(runId);
          expect({ status: run.status, error: run.error }).toMatchObject({ status });
          return run;
        },
        { timeout: timeoutMs, interval: 20 },
      ),
  };
  return fixture;
}
