import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

/** The kernel's start time of a process: with its number, an identity that isn't reused. Null where it can't be told. */
export function processStart(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // Fields are counted behind the name's last ")": the name itself may contain blanks and brackets.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}

/** Whether any process of the group is alive (zombies that wait to be reaped included). */
export function groupAlive(pid: number): boolean {
  try {
    process.kill(-pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Gone already.
  }
}

/** Asks the leader of a process group to end, waits up to `graceMs` milliseconds for the group, then kills the whole of it. */
export async function endGroup(pid: number, signal: NodeJS.Signals, graceMs: number): Promise<void> {
  try {
    process.kill(pid, signal);
  } catch {
    // The leader is gone; orphans of it may not be.
  }
  const deadline = Date.now() + graceMs;
  while (groupAlive(pid) && Date.now() < deadline) await delay(10);
  if (!groupAlive(pid)) return;
  signalGroup(pid, "SIGKILL");
  const end = Date.now() + 2_000;
  while (groupAlive(pid) && Date.now() < end) await delay(10);
}
