import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheFolder } from "../process/folders.ts";
import { debianClientBinaries, debianServerBinaries } from "./debian-binaries.ts";

/** Full paths of PostgreSQL 15's client programs, to be run as they are. */
export interface ClientTools {
  psql: string;
  pgDump: string;
  pgRestore: string;
}

/** A script that runs a program with its libraries, so that the caller needs to know nothing of them. */
async function wrapper(program: string, env: Record<string, string>): Promise<string> {
  const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
  const settings = Object.entries(env).map(([name, value]) => `${name}=${quoted(value)}`);
  const folder = join(cacheFolder(), "bin");
  const file = join(folder, program.slice(program.lastIndexOf("/") + 1));
  await mkdir(folder, { recursive: true });
  await writeFile(file, `#!/bin/sh\nexec env ${settings.join(" ")} ${quoted(program)} "$@"\n`);
  await chmod(file, 0o755);
  return file;
}

/**
 * psql, pg_dump and pg_restore of PostgreSQL 15: installed ones, else Debian's, extracted into the cache folder. Their
 * pg_dump refuses a newer server: dump from `startPostgres({ distribution: "debian" })`. Throws where they can't be had.
 */
export async function clientTools(): Promise<ClientTools> {
  const { binDir, env } = await debianClientBinaries();
  const tool = async (name: string): Promise<string> =>
    Object.keys(env).length === 0 ? join(binDir, name) : wrapper(join(binDir, name), env);
  const [psql, pgDump, pgRestore] = await Promise.all([tool("psql"), tool("pg_dump"), tool("pg_restore")]);
  return { psql, pgDump, pgRestore };
}

/** pgbench of PostgreSQL 15: Debian has it beside the server. It runs against newer servers too. */
export async function pgbenchProgram(): Promise<{
  readonly program: string;
  readonly env: Readonly<Record<string, string>>;
}> {
  const { binDir, env } = await debianServerBinaries();
  return { program: join(binDir, "pgbench"), env };
}
