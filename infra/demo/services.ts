import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startPostgres, startRedis } from "@rowback/local-services";
import pg from "pg";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
// A small machine that does something else besides starts slowly; one whose API has ended is told so at once.
const READY_WITHIN_MS = 120_000;

/** Rowback and all it stands on, running as real processes on this machine. */
export interface RunningSystem {
  readonly apiUrl: string;
  readonly controlUrl: string;
  readonly sampleUrl: string;
  readonly redisUrl: string;
  readonly jwtSecret: string;
  /** Where the processes log, and where backups go unless S3_BUCKET is set. */
  readonly folder: string;
  readonly store: string;
}

/** Everything started is pushed here, and stopped last in, first out. */
export type Cleanup = () => Promise<void>;

/** Starts PostgreSQL, Redis, one API and one worker; DATABASE_URL, REDIS_URL and S3_* of the environment are used instead where set. */
export async function startSystem(cleanups: Cleanup[], signal: AbortSignal): Promise<RunningSystem> {
  const folder = await mkdtemp(join(tmpdir(), "rowback-demo-"));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));

  const [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
  cleanups.push(
    () => postgres.stop(),
    () => redis.stop(),
  );
  signal.throwIfAborted();

  const suffix = randomBytes(4).toString("hex");
  const controlUrl = await createDatabase(postgres.url, `rowback_demo_control_${suffix}`, cleanups);
  const sampleUrl = await createDatabase(postgres.url, `rowback_demo_saas_${suffix}`, cleanups);

  const jwtSecret = randomBytes(32).toString("hex");
  const port = await freePort();
  const store = process.env["S3_BUCKET"] ? `s3://${process.env["S3_BUCKET"]}` : `file://${join(folder, "store")}`;
  const environment = {
    ...process.env,
    DATABASE_URL: controlUrl,
    REDIS_URL: redis.url,
    ...(process.env["S3_BUCKET"] ? {} : { STORE: store }),
    JWT_SECRET: jwtSecret,
    ROWBACK_SECRET_KEY: randomBytes(32).toString("base64"),
    ROWBACK_SAMPLE_URL: sampleUrl,
    PORT: String(port),
    METRICS_PORT: "0",
    QUEUE_PREFIX: `demo-${suffix}`,
    // Nobody should wait ten seconds for a moment to be in the log.
    CAPTURE_SEGMENT_SECONDS: "1",
  };
  await runToEnd("packages/db/src/migrate-main.ts", environment);
  signal.throwIfAborted();
  const logs = [join(folder, "api.log"), join(folder, "worker.log")] as const;
  const apps = [
    startApp("apps/api/src/main.ts", environment, logs[0], cleanups),
    startApp("apps/worker/src/main.ts", environment, logs[1], cleanups),
  ];
  const apiUrl = `http://127.0.0.1:${port}`;
  await untilReady(`${apiUrl}/readyz`, apps, signal).catch(async (error: unknown) => {
    if (!signal.aborted) for (const log of logs) console.error(await endOfLog(log));
    throw error;
  });
  return { apiUrl, controlUrl, sampleUrl, redisUrl: redis.url, jwtSecret, folder, store };
}

async function createDatabase(serverUrl: string, name: string, cleanups: Cleanup[]): Promise<string> {
  const run = async (statement: string): Promise<void> => {
    const client = new pg.Client({ connectionString: serverUrl });
    await client.connect();
    await client.query(statement).finally(() => client.end());
  };
  await run(`CREATE DATABASE ${pg.escapeIdentifier(name)}`);
  cleanups.push(() => run(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`));
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.toString();
}

function startApp(script: string, env: NodeJS.ProcessEnv, logFile: string, cleanups: Cleanup[]): ChildProcess {
  const app = spawn(process.execPath, [join(ROOT, script)], { cwd: ROOT, env, stdio: ["ignore", "pipe", "pipe"] });
  const log = createWriteStream(logFile);
  app.stdout.pipe(log, { end: false });
  app.stderr.pipe(log, { end: false });
  cleanups.push(() => stopApp(app));
  return app;
}

async function endOfLog(file: string): Promise<string> {
  return `${file}:\n${(await readFile(file, "utf8").catch(() => "")).slice(-2_000)}`;
}

async function stopApp(app: ChildProcess): Promise<void> {
  if (app.exitCode !== null || app.signalCode !== null) return;
  const exited = once(app, "exit");
  app.kill("SIGTERM");
  await exited;
}

async function runToEnd(script: string, env: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn(process.execPath, [join(ROOT, script)], {
    cwd: ROOT,
    env,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`${script} ended with exit code ${code}`);
}

async function untilReady(url: string, apps: readonly ChildProcess[], signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + READY_WITHIN_MS;
  for (;;) {
    const answer = await fetch(url, { signal }).catch(() => null);
    if (answer?.ok) return;
    signal.throwIfAborted();
    const ended = apps.find((app) => app.exitCode !== null || app.signalCode !== null);
    if (ended !== undefined) throw new Error(`${ended.spawnargs.at(-1)} ended before it was ready`);
    if (Date.now() > deadline)
      throw new Error(`${url} did not become ready: ${answer ? await answer.text() : "no answer"}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port was given");
  server.close();
  return address.port;
}
