import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

let watchdog: ChildProcess | null = null;

function tell(line: string): void {
  if (watchdog === null || watchdog.exitCode !== null) {
    watchdog = spawn(process.execPath, [fileURLToPath(new URL("./watchdog.ts", import.meta.url))], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
      env: { PATH: process.env["PATH"] ?? "" },
    });
    watchdog.on("error", () => {});
    watchdog.stdin?.on("error", () => {});
    watchdog.unref();
    // The pipe is what the watchdog waits on; it must not keep this process alive.
    if (watchdog.stdin !== null && "unref" in watchdog.stdin && typeof watchdog.stdin.unref === "function") {
      watchdog.stdin.unref();
    }
  }
  watchdog.stdin?.write(`${line}\n`);
}

/** From now until `releaseGroup`, the process group `pid` is ended (first by `signal`) if this process dies in whatever way. */
export function guardGroup(pid: number, signal: NodeJS.Signals): void {
  tell(`guard\t${pid}\t${signal}`);
}

export function releaseGroup(pid: number): void {
  tell(`release\t${pid}`);
}

/** From now until `releaseFolder`, the folder is removed if this process dies in whatever way. */
export function guardFolder(folder: string): void {
  tell(`folder\t${folder}`);
}

export function releaseFolder(folder: string): void {
  tell(`release-folder\t${folder}`);
}
