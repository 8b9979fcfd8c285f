import { execFileSync } from "node:child_process";
import { temporaryFolder } from "../process/folders.ts";
import { onScopeEnd } from "./cleanup.ts";
import { testFolder } from "./test-folder.ts";

/** A disk that is soon full, mounted on a folder. */
export interface SmallDisk {
  readonly root: string;
  /** `ro`, or another option of mount(8). */
  remount(options: string): void;
}

/** A disk of so many MiB (tmpfs), unmounted when the test ends. Ask `smallDiskFault` first. */
export function smallDisk(mebibytes: number): SmallDisk {
  const root = testFolder();
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", root], { stdio: "pipe" });
  onScopeEnd(async () => void execFileSync("umount", ["-l", root]));
  return { root, remount: (options) => void execFileSync("mount", ["-o", `remount,${options}`, root]) };
}

/** Why no small disk can be had on this machine, which it says loudly; null where one can. */
export function smallDiskFault(): string | null {
  const probe = temporaryFolder("probe");
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", probe.path], { stdio: "pipe" });
    execFileSync("umount", [probe.path], { stdio: "pipe" });
    return null;
  } catch (error) {
    const why = error instanceof Error ? error.message.trim() : String(error);
    process.stderr.write(`\n*** TESTS OF A FULL DISK ARE SKIPPED: no tmpfs can be mounted here: ${why}\n`);
    return why;
  } finally {
    void probe.remove();
  }
}
