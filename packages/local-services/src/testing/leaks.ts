import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";

/** Every process that a test starts inherits this variable; services of the run and the test runner's own workers are told apart. */
export const RUN_MARK = "ROWBACK_TEST_RUN";

function parentOf(pid: string): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}

function markedProcesses(runId: string): { pid: number; command: string }[] {
  const found: { pid: number; command: string }[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
    try {
      if (!readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(`${RUN_MARK}=${runId}`)) continue;
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      // Children of the runner itself are its workers and its bundler; a test's own have a worker, or nobody, as parent.
      if (command !== "" && parentOf(pid) !== process.pid)
        found.push({ pid: Number(pid), command: command.slice(0, 160) });
    } catch {
      // Ended while we looked, or not ours to read.
    }
  }
  return found;
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Ended by itself after all.
  }
}

/** Processes that tests of this run started and left behind: they are killed now, and named. Those that are just ending get three seconds. Linux only. */
export async function leakedProcesses(runId: string): Promise<string[]> {
  if (process.platform !== "linux") return [];
  const deadline = Date.now() + 3_000;
  for (;;) {
    const found = markedProcesses(runId);
    if (found.length > 0 && Date.now() < deadline) {
      await delay(100);
      continue;
    }
    for (const { pid } of found) kill(pid);
    return found.map(({ pid, command }) => `process ${pid}: ${command}`);
  }
}

/** Databases and roles of this run that nobody dropped; they are dropped now, and named. */
export async function leakedDatabases(url: string, runId: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const mine = `rowback_test_${runId}_%`;
    const databases = await client.query<{ name: string }>(
      "SELECT datname AS name FROM pg_database WHERE datname LIKE $1",
      [mine],
    );
    for (const { name } of databases.rows) {
      await client.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`).catch(() => {});
    }
    const roles = await client.query<{ name: string }>("SELECT rolname AS name FROM pg_roles WHERE rolname LIKE $1", [
      mine,
    ]);
    for (const { name } of roles.rows)
      await client.query(`DROP ROLE IF EXISTS ${pg.escapeIdentifier(name)}`).catch(() => {});
    return [...databases.rows.map(({ name }) => `database ${name}`), ...roles.rows.map(({ name }) => `role ${name}`)];
  } finally {
    await client.end();
  }
}
