import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { guardGroup, releaseGroup } from "./guard.ts";
import { endGroup } from "./process-group.ts";

export interface Program {
  pid: number;
  /** Resolves with the exit code, null after a signal, when the program ends for whatever reason. Never rejects. */
  exited: Promise<number | null>;
  /** SIGTERM, up to `graceMs` milliseconds for an orderly end, then SIGKILL for it and all it started. */
  stop(graceMs?: number): Promise<void>;
}

/**
 * Starts a program that shares this terminal's output, or appends it to `logFile`, and ends with this process, however that
 * ends. Ctrl-C doesn't reach it: whoever started it says when it stops, and in which order.
 */
export function startProgram(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  options: { readonly logFile?: string } = {},
): Program {
  const log = options.logFile === undefined ? "inherit" : openSync(options.logFile, "a");
  const child = spawn(command, [...args], { detached: true, stdio: ["ignore", log, log], env });
  if (log !== "inherit") closeSync(log);
  const { pid } = child;
  if (pid === undefined) throw new Error(`${command} could not be started`);
  guardGroup(pid, "SIGTERM");
  const { promise: exited, resolve } = Promise.withResolvers<number | null>();
  child.once("exit", (code) => resolve(code));
  child.once("error", () => resolve(127));
  return {
    pid,
    exited,
    async stop(graceMs = 10_000) {
      await endGroup(pid, "SIGTERM", graceMs);
      releaseGroup(pid);
    },
  };
}
