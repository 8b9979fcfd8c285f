import { randomBytes } from "node:crypto";
import { chmod, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { addOperator, migrate, openControlDatabase } from "@rowback/db";
import { freePort, type PostgresServer, startPostgres, startRedis, temporaryFolder } from "@rowback/local-services";
import { captureNames, ddlTriggerStatement } from "@rowback/recovery";
import { createSigner } from "fast-jwt";
import { z } from "zod";
import { Client } from "../chaos/client.ts";
import { runSql } from "../chaos/sql.ts";
import { type SupervisedProcess, supervise } from "../chaos/supervised-process.ts";
import { archiveSettings } from "./physical-pitr.ts";
import { ACCOUNTS } from "./writers.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const OPERATOR = "oracle@rowback.example";
const READY_WITHIN_MS = 60_000;

/** A tenant of the world, and a client that acts for it. */
export interface OracleTenant {
  readonly id: string;
  readonly account: number;
  readonly client: Client;
}

/** The system under test as real processes, and the database it is asked about. */
export interface OracleSystem {
  readonly source: PostgresServer;
  /** Where `source` keeps its data; its WAL goes to `archive`. */
  readonly dataDir: string;
  readonly archive: string;
  readonly controlUrl: string;
  readonly scratchUrl: string;
  readonly sourceId: string;
  readonly scratchId: string;
  readonly store: string;
  readonly tenants: readonly OracleTenant[];
  readonly workers: readonly SupervisedProcess[];
  readonly folder: string;
}

/** Everything started is pushed here, and stopped last in, first out. */
export type Cleanup = () => Promise<void>;

/** Starts servers, API and two workers, makes the world, registers it, and turns its capture on. */
export async function startSystem(
  cleanups: Cleanup[],
  { ddlTrigger }: { readonly ddlTrigger: boolean },
  signal: AbortSignal,
): Promise<OracleSystem> {
  const temporary = temporaryFolder("oracle");
  cleanups.push(() => temporary.remove());
  const [dataDir, archive, store] = ["source", "archive", "store"].map((name) => join(temporary.path, name));
  if (dataDir === undefined || archive === undefined || store === undefined)
    throw new Error("three names, three folders");
  await mkdir(archive);
  // The server runs as another user.
  await chmod(archive, 0o777);
  const [source, control, redis] = await Promise.all([
    startPostgres({ dataDir, settings: archiveSettings(archive) }),
    startPostgres({ settings: { fsync: "off" } }),
    startRedis(),
  ]);
  cleanups.push(source.stop, control.stop, redis.stop);
  signal.throwIfAborted();

  const scratchUrl = await createDatabase(source.url, "scratch");
  const world = await readFile(new URL("./world.sql", import.meta.url), "utf8");
  for (const url of [source.url, scratchUrl]) await runSql(url, world);
  for (const account of ACCOUNTS) {
    await runSql(source.url, "INSERT INTO accounts VALUES ($1::int, 'account ' || $1::int)", [account]);
  }
  const controlUrl = await createDatabase(control.url, "rowback");
  await migrate(controlUrl);
  const db = openControlDatabase({ url: controlUrl, maxConnections: 1, applicationName: "oracle" });
  await addOperator(db.system, OPERATOR).finally(() => db.close());

  const jwtSecret = randomBytes(32).toString("hex");
  const port = await freePort();
  const env: NodeJS.ProcessEnv = {
    PATH: process.env["PATH"],
    DATABASE_URL: controlUrl,
    REDIS_URL: redis.url,
    STORE: `file://${store}`,
    JWT_SECRET: jwtSecret,
    ROWBACK_SECRET_KEY: randomBytes(32).toString("base64"),
    PORT: String(port),
    METRICS_PORT: "0",
    QUEUE_PREFIX: "oracle",
    ORACLE_URL: source.url,
    ORACLE_SCRATCH_URL: scratchUrl,
  };
  const start = (name: string, app: "api" | "worker"): SupervisedProcess => {
    const logFile = join(temporary.path, `${name}.log`);
    const started = supervise({ name, script: join(ROOT, `apps/${app}/src/main.ts`), env, logFile });
    cleanups.push(() => started.stop());
    return started;
  };
  start("api", "api");
  const workers = ["worker-1", "worker-2"].map((name) => start(name, "worker"));
  const apiUrl = `http://127.0.0.1:${port}`;
  await untilReady(`${apiUrl}/readyz`, signal);
  const registered = await register({ apiUrl, jwtSecret, controlUrl, sourceUrl: source.url, ddlTrigger, signal });
  return { source, dataDir, archive, controlUrl, scratchUrl, store, workers, folder: temporary.path, ...registered };
}

const Created = z.looseObject({ id: z.string() });

async function register(at: {
  readonly apiUrl: string;
  readonly jwtSecret: string;
  readonly controlUrl: string;
  readonly sourceUrl: string;
  readonly ddlTrigger: boolean;
  readonly signal: AbortSignal;
}): Promise<Pick<OracleSystem, "sourceId" | "scratchId" | "tenants">> {
  const token = createSigner({ key: at.jwtSecret, algorithm: "HS256", expiresIn: 12 * 3_600_000 })({ sub: OPERATOR });
  const clientOf = (tenantId: string | null): Client =>
    new Client({ urls: [at.apiUrl], token, tenantId, signal: at.signal });
  const operator = clientOf(null);
  const sourceOf = async (name: string, variable: string): Promise<string> => {
    const tenancy = { mode: "column", column: "account_id" };
    const made = await operator.call("POST", "/v1/sources", Created, {
      body: { name, connection: `env:${variable}`, tenancy },
    });
    return made.id;
  };
  const sourceId = await sourceOf("world", "ORACLE_URL");
  const scratchId = await sourceOf("scratch", "ORACLE_SCRATCH_URL");
  const tenants: OracleTenant[] = [];
  for (const account of ACCOUNTS) {
    const body = { sourceId, key: String(account), name: `account ${account}` };
    const { id } = await operator.call("POST", "/v1/tenants", Created, { body });
    await operator.call("POST", `/v1/tenants/${id}/members`, z.unknown(), {
      body: { userId: OPERATOR, role: "owner" },
    });
    tenants.push({ id, account, client: clientOf(id) });
  }
  await runSql(
    at.controlUrl,
    "INSERT INTO tenant_settings (tenant_id, backups_per_hour) SELECT id, 1000000 FROM tenants",
  );
  await succeed(operator, `/v1/sources/${sourceId}/discovery`, {});
  if (at.ddlTrigger) await runSql(at.sourceUrl, ddlTriggerStatement(captureNames(sourceId).publicationName));
  await succeed(operator, `/v1/sources/${sourceId}/capture`, {});
  return { sourceId, scratchId, tenants };
}

/** Asks for a run and waits until it has succeeded. @returns the run's id */
export async function succeed(client: Client, path: string, body: unknown): Promise<string> {
  const ended = await client.untilEnded(await client.ask(path, body));
  if (ended.status !== "succeeded") throw new Error(`${path}: ${ended.status} ${JSON.stringify(ended.error)}`);
  return ended.id;
}

async function createDatabase(serverUrl: string, name: string): Promise<string> {
  await runSql(serverUrl, `CREATE DATABASE ${name}`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

async function untilReady(url: string, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + READY_WITHIN_MS;
  for (;;) {
    const answer = await fetch(url, { signal }).catch(() => null);
    if (answer?.ok) return;
    signal.throwIfAborted();
    if (Date.now() > deadline) throw new Error(`${url} did not become ready`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
