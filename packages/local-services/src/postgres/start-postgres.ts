import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, chown, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { temporaryFolder } from "../process/folders.ts";
import { onFreePort } from "../process/free-port.ts";
import { type ServiceProcess, startServiceProcess } from "../process/service-process.ts";
import { debianServerBinaries } from "./debian-binaries.ts";
import { embeddedBinaries } from "./embedded-binaries.ts";
import { type UserIds, unprivilegedUser } from "./unprivileged-user.ts";

export interface PostgresOptions {
  /** `embedded`: PostgreSQL 18 from npm, without psql and pg_dump. `debian`: PostgreSQL 15 from Debian's packages. */
  distribution?: "embedded" | "debian";
  /** Server settings (postgresql.conf names), over the defaults below. */
  settings?: Readonly<Record<string, string>>;
  /** Kept between runs. Without it the data is in a temporary folder, removed by `stop`. */
  dataDir?: string;
}

export interface PostgresServer {
  /** Connection string of a superuser, database `postgres`, on 127.0.0.1. */
  url: string;
  port: number;
  /** The folder of the server's programs. Null for a server that `DATABASE_URL` names. */
  binDir: string | null;
  /** The postmaster. 0 for a server that `DATABASE_URL` names. */
  pid: number;
  stop(): Promise<void>;
  /** Stops and starts it again: same data, same port, same URL. */
  restart(): Promise<void>;
}

const run = promisify(execFile);

const DEFAULT_SETTINGS = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  wal_level: "logical",
  max_connections: "200",
  max_wal_senders: "20",
  max_replication_slots: "20",
  fsync: "on",
  log_min_messages: "warning",
};

async function initialise(
  binDir: string,
  folder: string,
  user: UserIds | null,
  env: Record<string, string>,
): Promise<string> {
  const passwordFile = join(folder, "password");
  const data = join(folder, "data");
  if (existsSync(join(data, "PG_VERSION"))) return (await readFile(passwordFile, "utf8")).trim();

  await rm(data, { recursive: true, force: true });
  await mkdir(data, { recursive: true });
  await chmod(data, 0o700);
  const password = randomBytes(18).toString("base64url");
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (user !== null) await Promise.all([data, passwordFile].map((path) => chown(path, user.uid, user.gid)));
  const args = ["--pgdata", data, "--username", "postgres", "--auth", "scram-sha-256", "--pwfile", passwordFile];
  await run(join(binDir, "initdb"), [...args, "--encoding", "UTF8", "--locale", "C", "--no-sync"], {
    cwd: "/",
    env: { PATH: process.env["PATH"] ?? "", TZ: "UTC", LC_ALL: "C", ...env },
    ...(user ?? {}),
  });
  return password;
}

async function answers(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on("error", () => {});
  try {
    await client.connect();
    await client.query("SELECT 1");
  } finally {
    await client.end().catch(() => {});
  }
}

/**
 * Starts a PostgreSQL server on 127.0.0.1 with `wal_level=logical`, which ends with this process however that ends.
 * When `DATABASE_URL` is set and no distribution, setting or folder is asked for, that server is used, and never stopped.
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const given = process.env["DATABASE_URL"];
  if (given !== undefined && given !== "" && Object.keys(options).length === 0) {
    await answers(given);
    const nothing = async (): Promise<void> => {};
    return {
      url: given,
      port: Number(new URL(given).port || 5432),
      binDir: null,
      pid: 0,
      stop: nothing,
      restart: nothing,
    };
  }

  const user = unprivilegedUser();
  const debian = options.distribution === "debian" ? await debianServerBinaries() : null;
  const binDir = debian === null ? await embeddedBinaries(user) : debian.binDir;
  const temporary = options.dataDir === undefined ? temporaryFolder("postgres") : null;
  const folder = temporary?.path ?? options.dataDir ?? "";
  await mkdir(folder, { recursive: true });
  const settings = { ...DEFAULT_SETTINGS, ...options.settings };

  const launch = async (port: number, url: string): Promise<ServiceProcess> =>
    startServiceProcess({
      name: "PostgreSQL",
      command: join(binDir, "postgres"),
      args: [
        ...["-D", join(folder, "data"), "-p", String(port)],
        ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      ],
      env: { TZ: "UTC", LC_ALL: "C", ...debian?.env },
      cwd: "/",
      logFile: join(folder, "postgres.log"),
      // SIGINT is PostgreSQL's fast shutdown: sessions are ended, data is written.
      stopSignal: "SIGINT",
      ready: () => answers(url),
      startTimeoutMs: 60_000,
      ...(user ?? {}),
    });

  try {
    const password = await initialise(binDir, folder, user, debian?.env ?? {});
    const urlOf = (port: number): string => `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
    const { port, server } = await onFreePort(async (port) => ({ port, server: await launch(port, urlOf(port)) }));
    let running = server;
    return {
      url: urlOf(port),
      port,
      binDir,
      get pid() {
        return running.pid;
      },
      async stop() {
        await running.stop();
        await temporary?.remove();
      },
      async restart() {
        await running.stop();
        running = await launch(port, urlOf(port));
      },
    };
  } catch (error) {
    await temporary?.remove();
    throw error;
  }
}
