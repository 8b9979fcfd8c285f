import { randomBytes } from "node:crypto";
import { cp, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { addOperator, migrate, openControlDatabase } from "@rowback/db";
import {
  freePort,
  type PostgresServer,
  type RedisServer,
  startPostgres,
  startRedis,
  startS3,
  temporaryFolder,
} from "@rowback/local-services";
import type { StoreConfig } from "@rowback/storage";
import { prepareJournals } from "./journals.ts";
import { Network } from "./network.ts";
import { APIS, type ProcessName, WORKERS } from "./plan.ts";
import { runSql } from "./sql.ts";
import { type StoreProxy, startStoreProxy } from "./store-proxy.ts";
import { type SupervisedProcess, supervise } from "./supervised-process.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const OPERATOR = "chaos@rowback.example";

/** The whole system as real processes, and the handles to break it. */
export interface World {
  readonly control: PostgresServer;
  readonly source: PostgresServer;
  readonly redis: RedisServer;
  /** Direct addresses, past every proxy. */
  readonly urls: { readonly control: string; readonly source: string; readonly scratch: string };
  readonly apiUrls: readonly string[];
  readonly store: StoreConfig;
  readonly storeProxy: StoreProxy | null;
  readonly network: Network;
  readonly processes: ReadonlyMap<ProcessName, SupervisedProcess>;
  readonly queuePrefix: string;
  readonly jwtSecret: string;
  /** The logs of all processes. */
  readonly folder: string;
}

export interface WorldOptions {
  readonly store: "s3" | "file";
  readonly leaseMs: number;
  readonly apis: number;
  readonly workers: number;
  /** Where the logs go when all is over; nowhere unless told. */
  readonly keepLogs: string | undefined;
  /** Where to say what is going on. */
  readonly say: (line: string) => void;
}

/** Everything started is pushed here, and stopped last in, first out. */
export type Cleanup = () => Promise<void>;

/** Everything that waits in production waits here too, for less long: a run of minutes must see many of them. */
function hastySettings(leaseMs: number): Record<string, string> {
  return {
    RUN_LEASE_MS: String(leaseMs),
    SWEEP_EVERY_MS: "1000",
    SWEEP_QUEUED_FOR_MS: "2000",
    GARBAGE_EVERY_MS: "5000",
    GARBAGE_GRACE_MS: "4000",
    // Longer than anybody is frozen, cut off or slow here, so that no live upload is taken for a dead one.
    UNFINISHED_GRACE_MS: "20000",
    SHUTDOWN_GRACE_MS: "1500",
    BREAKER_RESET_MS: "3000",
    WORKER_CONCURRENCY: "3",
    SOURCE_CONNECTIONS: "6",
    LOG_LEVEL: "info",
  };
}

/** Starts the databases, Redis, the store, the API's and the workers' processes. */
export async function startWorld(options: WorldOptions, cleanups: Cleanup[], signal: AbortSignal): Promise<World> {
  const temporary = temporaryFolder("chaos");
  const { path: folder } = temporary;
  cleanups.push(async () => {
    if (options.keepLogs !== undefined)
      await cp(folder, options.keepLogs, {
        recursive: true,
        filter: (path) => !path.startsWith(join(folder, "store")),
      });
    await temporary.remove();
  });

  const [control, source, redis, store] = await Promise.all([
    startPostgres({ settings: { synchronous_commit: "on" } }),
    startPostgres({ settings: { max_prepared_transactions: "5" } }),
    startRedis({ dir: join(folder, "redis") }),
    startStore(options, folder),
  ]);
  cleanups.push(control.stop, source.stop, redis.stop, store.stop);
  signal.throwIfAborted();

  const urls = {
    control: await createDatabase(control.url, "rowback"),
    source: await createDatabase(source.url, "shop"),
    scratch: await createDatabase(source.url, "scratch"),
  };
  await migrate(urls.control);
  const db = openControlDatabase({ url: urls.control, maxConnections: 1, applicationName: "chaos" });
  await addOperator(db.system, OPERATOR).finally(() => db.close());
  const schema = await readFile(new URL("./source-schema.sql", import.meta.url), "utf8");
  for (const url of [urls.source, urls.scratch]) await runSql(url, schema);
  await prepareJournals(urls);
  signal.throwIfAborted();

  const network = new Network({
    control: control.port,
    source: source.port,
    redis: Number(new URL(redis.url).port),
    ...(store.port === null ? {} : { store: store.port }),
  });
  cleanups.push(() => network.close());
  const system: System = {
    folder,
    urls,
    redisUrl: redis.url,
    network,
    store: store.config,
    jwtSecret: randomBytes(32).toString("hex"),
    secretKey: randomBytes(32).toString("base64"),
    queuePrefix: "chaos",
    leaseMs: options.leaseMs,
  };
  const processes = new Map<ProcessName, SupervisedProcess>();
  cleanups.push(async () => void (await Promise.all([...processes.values()].map((process) => process.stop()))));
  const apiUrls: string[] = [];
  for (const name of [...APIS.slice(0, options.apis), ...WORKERS.slice(0, options.workers)]) {
    const port = await freePort();
    const started = await startProcess(system, name, port);
    processes.set(name, started);
    if (name.startsWith("api")) apiUrls.push(`http://127.0.0.1:${port}`);
  }
  const { jwtSecret, queuePrefix } = system;
  const { config, proxy } = store;
  options.say(`${processes.size} processes, store ${config.driver}; logs in ${folder}`);
  return {
    ...{ control, source, redis, urls, apiUrls, network, processes, queuePrefix, jwtSecret, folder },
    store: config,
    storeProxy: proxy,
  };
}

interface System {
  readonly folder: string;
  readonly urls: World["urls"];
  readonly redisUrl: string;
  readonly network: Network;
  readonly store: StoreConfig;
  readonly jwtSecret: string;
  readonly secretKey: string;
  readonly queuePrefix: string;
  readonly leaseMs: number;
}

async function startProcess(system: System, name: ProcessName, port: number): Promise<SupervisedProcess> {
  const { network, urls } = system;
  const isWorker = name.startsWith("worker");
  const env: NodeJS.ProcessEnv = {
    PATH: process.env["PATH"],
    DATABASE_URL: await network.route(name, "control", urls.control),
    REDIS_URL: await network.route(name, "redis", system.redisUrl),
    ...(await storeSettings(system, name)),
    JWT_SECRET: system.jwtSecret,
    ROWBACK_SECRET_KEY: system.secretKey,
    PORT: String(port),
    METRICS_PORT: "0",
    QUEUE_PREFIX: system.queuePrefix,
    // The load is one person's.
    RATE_LIMIT_READS: "1000000",
    RATE_LIMIT_WRITES: "1000000",
    ...hastySettings(system.leaseMs),
  };
  if (isWorker) {
    const url = await network.route(name, "source", urls.source);
    const scratch = new URL(url);
    scratch.pathname = new URL(urls.scratch).pathname;
    Object.assign(env, { ROWBACK_SHOP_URL: url, ROWBACK_SCRATCH_URL: scratch.href });
  }
  return supervise({
    name,
    script: join(ROOT, isWorker ? "apps/worker/src/main.ts" : "apps/api/src/main.ts"),
    env,
    logFile: join(system.folder, `${name}.log`),
  });
}

async function storeSettings({ store, network }: System, name: ProcessName): Promise<Record<string, string>> {
  if (store.driver === "filesystem") return { STORE: `file://${store.root}` };
  const { bucket, endpoint, accessKeyId, secretAccessKey } = store;
  if (endpoint === undefined || accessKeyId === undefined || secretAccessKey === undefined)
    throw new Error("the store's settings are not complete");
  return {
    S3_BUCKET: bucket,
    // The API only probes it.
    S3_ENDPOINT: await network.route(name, "store", endpoint),
    S3_ACCESS_KEY_ID: accessKeyId,
    S3_SECRET_ACCESS_KEY: secretAccessKey,
  };
}

interface StartedStore {
  readonly config: StoreConfig;
  readonly proxy: StoreProxy | null;
  /** Of the proxy. */
  readonly port: number | null;
  readonly stop: () => Promise<void>;
}

async function startStore(options: WorldOptions, folder: string): Promise<StartedStore> {
  if (options.store === "file") {
    const root = join(folder, "store");
    await mkdir(root);
    return { config: { driver: "filesystem", root }, proxy: null, port: null, stop: async () => {} };
  }
  const s3 = await startS3();
  if ("unavailable" in s3) throw new Error(`no S3 server can be had here (${s3.unavailable}): use --store file`);
  const proxy = await startStoreProxy(s3.endpoint);
  const { endpoint, region, accessKeyId, secretAccessKey, bucket } = s3;
  return {
    config: { driver: "s3", endpoint, region, accessKeyId, secretAccessKey, bucket, forcePathStyle: true },
    proxy,
    port: proxy.port,
    stop: async () => {
      await proxy.close();
      await s3.stop();
    },
  };
}

async function createDatabase(serverUrl: string, name: string): Promise<string> {
  await runSql(serverUrl, `CREATE DATABASE ${name}`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}
