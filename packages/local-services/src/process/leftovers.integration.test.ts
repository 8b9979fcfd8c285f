import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { expect, it, vi } from "vitest";
import { z } from "zod";
import { startPostgres } from "../postgres/start-postgres.ts";
import { startRedis } from "../redis/start-redis.ts";
import { testFolder } from "../testing/index.ts";
import { startServiceProcess } from "./service-process.ts";

const Started = z.object({ pids: z.array(z.number()), urls: z.array(z.string()) });

function alive(pid: number): boolean {
  return existsSync(`/proc/${pid}`) || isSignalled(pid);
}

function isSignalled(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function runSql(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

async function starter(folder: string): Promise<{ child: ChildProcess; pids: number[] }> {
  const program = fileURLToPath(new URL("./starter.test-program.ts", import.meta.url));
  const { DATABASE_URL: _database, REDIS_URL: _redis, ...env } = process.env;
  const child = spawn(process.execPath, [program], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...env, TMPDIR: folder },
  });
  const [line] = z.tuple([z.instanceof(Buffer)]).parse(await once(child.stdout, "data"));
  return { child, pids: Started.parse(JSON.parse(line.toString())).pids };
}

it.each(["SIGKILL", "SIGINT"] as const)("leaves no process and no file when its starter dies of %s", async (signal) => {
  const folder = testFolder();
  const { child, pids } = await starter(folder);
  expect(pids.map(alive)).toEqual([true, true]);
  expect(readdirSync(folder)).toHaveLength(2);
  child.kill(signal);
  await vi.waitFor(() => expect(pids.map(alive)).toEqual([false, false]), { timeout: 20_000, interval: 50 });
  await vi.waitFor(() => expect(readdirSync(folder)).toEqual([]), { timeout: 20_000, interval: 50 });
});

it("leaves no process when stopped, and keeps data across a restart", async () => {
  const postgres = await startPostgres({ settings: { fsync: "off" } });
  const first = postgres.pid;
  await runSql(postgres.url, "CREATE TABLE kept AS SELECT 42 AS answer");
  await postgres.restart();
  expect(postgres.pid).not.toBe(first);
  expect(await runSql(postgres.url, "SELECT answer FROM kept")).toEqual([{ answer: 42 }]);
  const redis = await startRedis({ dir: testFolder() });
  await Promise.all([postgres.stop(), redis.stop()]);
  expect([first, postgres.pid, redis.pid].map(alive)).toEqual([false, false, false]);
});

it("says why a service did not start, with the end of its log", async () => {
  const logFile = `${testFolder()}/log`;
  const start = startServiceProcess({
    name: "A broken service",
    command: "sh",
    args: ["-c", "echo no such setting >&2; exit 3"],
    logFile,
    stopSignal: "SIGTERM",
    ready: () => Promise.reject(new Error("not yet")),
    startTimeoutMs: 5_000,
  });
  await expect(start).rejects.toThrow(
    /A broken service did not start: ended with exit code 3 before it was ready\nno such setting$/,
  );
});

it("kills a service that will not stop", async () => {
  const service = await startServiceProcess({
    name: "A stubborn service",
    command: "sh",
    args: ["-c", "trap '' TERM; sleep 600 & wait; wait"],
    logFile: `${testFolder()}/log`,
    stopSignal: "SIGTERM",
    stopTimeoutMs: 200,
    ready: async () => {},
    startTimeoutMs: 5_000,
  });
  await service.stop();
  expect(alive(service.pid)).toBe(false);
});
