import { chmodSync, mkdirSync, mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { homedir, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { guardFolder, releaseFolder } from "./guard.ts";

export const runsAsRoot = userInfo().uid === 0;

/** A fresh folder below the system's temporary one, readable by other users (a server may run as one), removed also after a crash. */
export function temporaryFolder(name: string): { path: string; remove(): Promise<void> } {
  const path = mkdtempSync(join(tmpdir(), `rowback-${name}-`));
  chmodSync(path, 0o755);
  guardFolder(path);
  return {
    path,
    async remove() {
      await rm(path, { recursive: true, force: true, maxRetries: 5 });
      releaseFolder(path);
    },
  };
}

/**
 * Where downloaded programs are kept between runs: `ROWBACK_CACHE`, else the system's cache for root (servers run as
 * another user, who can't enter root's home), else the user's.
 */
export function cacheFolder(): string {
  const own = process.env["ROWBACK_CACHE"];
  const base = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  const folder = own ?? (runsAsRoot ? "/var/cache/rowback" : join(base, "rowback"));
  mkdirSync(folder, { recursive: true });
  return folder;
}
