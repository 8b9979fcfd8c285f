import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Redis } from "ioredis";
import { temporaryFolder } from "../process/folders.ts";
import { onFreePort } from "../process/free-port.ts";
import { type ServiceProcess, startServiceProcess } from "../process/service-process.ts";
import { redisBinary } from "./redis-binary.ts";

export interface RedisOptions {
  /** Kept between runs. Without it the data is in a temporary folder, removed by `stop`. */
  dir?: string;
  /** Append-only file, so that a restart loses nothing. Off by default. */
  appendOnly?: boolean;
}

export interface RedisServer {
  url: string;
  /** 0 for a server that `REDIS_URL` names. */
  pid: number;
  stop(): Promise<void>;
  /** Stops and starts it again: same port, same URL; its data only with `appendOnly`. */
  restart(): Promise<void>;
}

async function answers(url: string): Promise<void> {
  const client = new Redis(url, {
    lazyConnect: true,
    connectTimeout: 2_000,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    await client.ping();
  } finally {
    client.disconnect();
  }
}

function urlOf(port: number): string {
  return `redis://127.0.0.1:${port}`;
}

/**
 * Starts a Redis on 127.0.0.1 with `maxmemory-policy noeviction` (an evicted key would be a lost job), which ends with
 * this process however that ends. When `REDIS_URL` is set and no option is given, that server is used, and never stopped.
 */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const given = process.env["REDIS_URL"];
  if (given !== undefined && given !== "" && Object.keys(options).length === 0) {
    await answers(given);
    const nothing = async (): Promise<void> => {};
    return { url: given, pid: 0, stop: nothing, restart: nothing };
  }
  const binary = await redisBinary();
  const temporary = options.dir === undefined ? temporaryFolder("redis") : null;
  const folder = temporary?.path ?? options.dir ?? "";
  await mkdir(folder, { recursive: true });
  try {
    const launch = (port: number): Promise<ServiceProcess> =>
      startServiceProcess({
        name: "Redis",
        ...binary,
        args: [
          ...["--bind", "127.0.0.1", "--port", String(port), "--dir", folder, "--daemonize", "no"],
          ...[
            "--maxmemory-policy",
            "noeviction",
            "--save",
            "",
            "--appendonly",
            options.appendOnly === true ? "yes" : "no",
          ],
        ],
        logFile: join(folder, "redis.log"),
        stopSignal: "SIGTERM",
        ready: () => answers(urlOf(port)),
        startTimeoutMs: 30_000,
      });
    const { port, server } = await onFreePort(async (port) => ({ port, server: await launch(port) }));
    let running = server;
    return {
      url: urlOf(port),
      get pid() {
        return running.pid;
      },
      async stop() {
        await running.stop();
        await temporary?.remove();
      },
      async restart() {
        await running.stop();
        running = await launch(port);
      },
    };
  } catch (error) {
    await temporary?.remove();
    throw error;
  }
}
