import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { extractedPackages, PackagesUnavailable } from "../debian/extracted-packages.ts";
import { findProgram } from "../debian/find-program.ts";

export interface RedisBinary {
  command: string;
  argv0: string;
  env: Record<string, string>;
}

/** redis-server on PATH, else Debian's, extracted into the cache folder. */
export async function redisBinary(): Promise<RedisBinary> {
  const installed = findProgram("redis-server");
  if (installed !== null) return { command: installed, argv0: "redis-server", env: {} };
  // Debian keeps the program in redis-tools, as redis-check-rdb; it decides by argv[0] which of the two it is.
  const program = (root: string): string => join(root, "usr/bin/redis-check-rdb");
  try {
    const { root, env } = await extractedPackages(
      "redis",
      ["redis-tools", "libjemalloc2", "liblzf1"],
      async (candidate) => {
        const check = spawnSync(program(candidate.root), ["--version"], {
          argv0: "redis-server",
          env: candidate.env,
          encoding: "utf8",
        });
        if (check.status !== 0) throw new Error(check.error?.message ?? check.stderr);
      },
    );
    return { command: program(root), argv0: "redis-server", env };
  } catch (error) {
    if (!(error instanceof PackagesUnavailable)) throw error;
    throw new Error(
      `There is no Redis here, and none could be had: ${error.message}.\n` +
        "Install one (macOS: brew install redis; Fedora: dnf install redis; Alpine: apk add redis), or name one in REDIS_URL.",
    );
  }
}
