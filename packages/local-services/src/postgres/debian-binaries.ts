import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { extractedPackages } from "../debian/extracted-packages.ts";
import { findProgram } from "../debian/find-program.ts";

const run = promisify(execFile);
const INSTALLED = "/usr/lib/postgresql/15/bin";

export interface DebianPostgres {
  binDir: string;
  /** What the programs need around them to find their libraries. Empty for installed ones. */
  env: Record<string, string>;
}

async function extracted(packages: readonly string[], program: string): Promise<DebianPostgres> {
  const { root, env } = await extractedPackages("postgresql", packages, async (candidate) => {
    await run(join(candidate.root, INSTALLED, program), ["--version"], { env: candidate.env });
  });
  return { binDir: join(root, INSTALLED), env: { LD_LIBRARY_PATH: env.LD_LIBRARY_PATH } };
}

/** Server programs of PostgreSQL 15: installed ones, else Debian's, extracted into the cache folder. */
export async function debianServerBinaries(): Promise<DebianPostgres> {
  if (findProgram("postgres", [INSTALLED]) !== null) return { binDir: INSTALLED, env: {} };
  return extracted(["postgresql-15", "postgresql-client-15", "libpq5"], "postgres");
}

/** Client programs of PostgreSQL 15: installed ones, else Debian's, extracted into the cache folder. */
export async function debianClientBinaries(): Promise<DebianPostgres> {
  if (findProgram("pg_dump", [INSTALLED]) !== null) return { binDir: INSTALLED, env: {} };
  return extracted(["postgresql-client-15", "libpq5"], "pg_dump");
}
