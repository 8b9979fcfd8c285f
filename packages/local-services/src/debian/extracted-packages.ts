import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { cacheFolder, runsAsRoot } from "../process/folders.ts";
import { findProgram } from "./find-program.ts";

const run = promisify(execFile);

export class PackagesUnavailable extends Error {}

export interface ExtractedPackages {
  /** The folder that stands for `/`: programs are in `<root>/usr/bin`, `<root>/usr/lib/…`. */
  root: string;
  /** Lets the programs find their libraries. */
  env: { LD_LIBRARY_PATH: string; PATH: string };
}

/** The last lines of what apt or dpkg said, for a message. */
function said(error: unknown): string {
  const text = error instanceof Error && "stderr" in error ? String(error.stderr) : String(error);
  return text.trim().split("\n").slice(-4).join("\n");
}

/** apt with state and cache of our own: works without root, and leaves the machine's as they are. */
function aptOptions(folder: string): string[] {
  const options = {
    "Dir::State::lists": join(folder, "lists"),
    "Dir::Cache": join(folder, "apt"),
    "Debug::NoLocking": "true",
    "Acquire::Retries": "2",
    "Acquire::http::Timeout": "20",
    "Acquire::https::Timeout": "20",
    "APT::Install-Recommends": "false",
    ...(runsAsRoot ? { "APT::Sandbox::User": "root" } : {}),
  };
  return Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
}

async function downloadAndExtract(packages: readonly string[], folder: string, root: string): Promise<void> {
  await mkdir(join(folder, "lists", "partial"), { recursive: true });
  await mkdir(join(folder, "apt", "archives", "partial"), { recursive: true });
  const options = aptOptions(folder);
  const env = { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" };
  const limits = { env, maxBuffer: 64 << 20, timeout: 300_000 };
  // A source list that can't be reached (a vendor's, a proxy's) makes this fail although Debian's own were read: the next step decides.
  await run("apt-get", [...options, "update", "-q"], limits).catch(() => {});
  const archives = join(folder, "apt", "archives");
  try {
    // What the machine lacks, dependencies included; then the named ones even if the machine has them without their programs.
    await run("apt-get", [...options, "install", "-q", "-y", "--download-only", "--no-remove", ...packages], limits);
    await run("apt-get", [...options, "download", "-q", ...packages], { ...limits, cwd: archives });
  } catch (error) {
    throw new PackagesUnavailable(`apt-get could not download ${packages.join(", ")}: ${said(error)}`);
  }
  const files = (await readdir(archives)).filter((name) => name.endsWith(".deb"));
  await mkdir(root, { recursive: true });
  for (const file of files) await run("dpkg", ["-x", join(archives, file), root]);
  await rm(join(folder, "apt"), { recursive: true, force: true });
  await rm(join(folder, "lists"), { recursive: true, force: true });
}

async function libraryFolders(root: string): Promise<string[]> {
  const folders: string[] = [];
  for (const base of ["usr/lib", "lib"]) {
    for (const entry of await readdir(join(root, base), { withFileTypes: true }).catch(() => [])) {
      if (entry.isDirectory() && entry.name.includes("-linux-")) {
        folders.push(join(root, base, entry.name));
        for (const inner of ["ceph"])
          if (existsSync(join(root, base, entry.name, inner))) folders.push(join(root, base, entry.name, inner));
      }
    }
    if (existsSync(join(root, base))) folders.push(join(root, base));
  }
  return folders;
}

/** One process at a time prepares a folder; a lock whose owner died is taken over. */
async function withFolderLock<T>(lockFile: string, fn: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      const handle = await open(lockFile, "wx");
      await handle.writeFile(String(process.pid));
      await handle.close();
      break;
    } catch {
      const owner = Number(await readFile(lockFile, "utf8").catch(() => "0"));
      const age = Date.now() - (await stat(lockFile).catch(() => ({ mtimeMs: Date.now() }))).mtimeMs;
      const ownerDied = owner > 0 && !existsSync(`/proc/${owner}`);
      if (ownerDied || age > 15 * 60_000) await rm(lockFile, { force: true });
      else await delay(100);
    }
  }
  try {
    return await fn();
  } finally {
    await rm(lockFile, { force: true });
  }
}

/**
 * Programs of Debian packages without installing them: downloads the packages and the dependencies this machine lacks,
 * and extracts them below the cache folder, once. No root needed, no daemon started, nothing of the system changed.
 *
 * `works` proves that the programs run on this machine; a cache from before a system upgrade that doesn't is made anew.
 * Throws PackagesUnavailable with the reason where that can't be done (no apt, no network).
 */
export async function extractedPackages(
  name: string,
  packages: readonly string[],
  works: (extracted: ExtractedPackages) => Promise<void>,
): Promise<ExtractedPackages> {
  if (findProgram("apt-get") === null || findProgram("dpkg") === null) {
    throw new PackagesUnavailable("this system has no apt-get and dpkg (only Debian and its relatives have)");
  }
  const key = createHash("sha256").update(packages.join(" ")).digest("hex").slice(0, 8);
  const folder = join(cacheFolder(), `${name}-${key}`);
  const root = join(folder, "root");
  const done = join(folder, "complete");
  const use = async (): Promise<ExtractedPackages> => {
    const path = ["usr/bin", "usr/sbin", "bin"].map((part) => join(root, part)).join(":");
    const libraries = (await libraryFolders(root)).join(":");
    const extracted = { root, env: { LD_LIBRARY_PATH: libraries, PATH: `${path}:${process.env["PATH"] ?? ""}` } };
    await works(extracted);
    return extracted;
  };
  await mkdir(cacheFolder(), { recursive: true });
  return withFolderLock(`${folder}.lock`, async () => {
    if (existsSync(done)) {
      try {
        return await use();
      } catch {
        await rm(folder, { recursive: true, force: true });
      }
    }
    const half = `${root}.half`;
    await rm(half, { recursive: true, force: true });
    await downloadAndExtract(packages, folder, half);
    await rm(root, { recursive: true, force: true });
    await rename(half, root);
    try {
      const extracted = await use();
      await writeFile(done, "");
      return extracted;
    } catch (error) {
      throw new PackagesUnavailable(`the programs of ${packages.join(", ")} do not run here: ${said(error)}`);
    }
  });
}
