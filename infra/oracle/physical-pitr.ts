import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { access, chown, mkdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { startPostgres } from "@rowback/local-services";
import pg from "pg";
import { type Reference, readReference } from "./reference.ts";

const run = promisify(execFile);
const ARCHIVED_WITHIN_MS = 60_000;

/** The settings of a server whose WAL is kept for `recoverAt`. The folder must be writable for the server's user. */
export function archiveSettings(archive: string): Record<string, string> {
  return { archive_mode: "on", archive_command: `test ! -f ${archive}/%f && cp %p ${archive}/%f` };
}

/** PostgreSQL's own point-in-time recovery of the whole cluster: the oracle that is not ours (manual, 25.3). */
export interface PhysicalBase {
  /** A copy of the server's folder, made while it ran. */
  readonly folder: string;
  readonly archive: string;
}

/** Takes a base backup through the low-level API: the embedded server comes without pg_basebackup. */
export async function takePhysicalBase(
  url: string,
  dataDir: string,
  into: string,
  archive: string,
): Promise<PhysicalBase> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query("SELECT pg_backup_start('oracle', true)");
    await mkdir(into, { recursive: true });
    await run("cp", ["-a", join(dataDir, "data"), join(dataDir, "password"), into]);
    const { rows } = await client.query<{ labelfile: string; spcmapfile: string }>("SELECT * FROM pg_backup_stop()");
    const folder = join(into, "data");
    for (const leftover of ["postmaster.pid", "postmaster.opts"]) await rm(join(folder, leftover), { force: true });
    await writeLike(folder, "backup_label", rows[0]?.labelfile ?? "");
    await writeLike(folder, "recovery.signal", "");
    return { folder: into, archive };
  } finally {
    await client.end();
  }
}

/** The server runs as another user, who must be able to read and remove what we write. */
async function writeLike(folder: string, name: string, text: string): Promise<void> {
  const { uid, gid } = await stat(folder);
  await writeFile(join(folder, name), text, { mode: 0o600 });
  await chown(join(folder, name), uid, gid);
}

/** Resolves when all WAL up to now is in the archive. */
export async function archiveAll(url: string, archive: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ file: string }>("SELECT pg_walfile_name(pg_switch_wal()) AS file");
    const deadline = Date.now() + ARCHIVED_WITHIN_MS;
    while (!(await exists(join(archive, rows[0]?.file ?? "")))) {
      if (Date.now() > deadline) throw new Error("The server did not archive its WAL");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } finally {
    await client.end();
  }
}

/** What everybody owned when every commit record before `lsn`, and no other, had been written. */
export async function recoverAt(
  base: PhysicalBase,
  lsn: string,
  database: string,
  accounts: readonly number[],
): Promise<Reference> {
  const folder = `${base.folder}-${randomUUID()}`;
  await run("cp", ["-a", base.folder, folder]);
  const server = await startPostgres({
    dataDir: folder,
    settings: {
      restore_command: `cp ${base.archive}/%f %p`,
      recovery_target_lsn: lsn,
      recovery_target_inclusive: "off",
      recovery_target_action: "promote",
      fsync: "off",
    },
  });
  try {
    const url = new URL(server.url);
    url.pathname = `/${database}`;
    await untilPromoted(url.href);
    const client = new pg.Client({ connectionString: url.href });
    await client.connect();
    try {
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      return await readReference(client, accounts);
    } finally {
      await client.end();
    }
  } finally {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function untilPromoted(url: string): Promise<void> {
  for (;;) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    const { rows } = await client
      .query<{ recovering: boolean }>("SELECT pg_is_in_recovery() AS recovering")
      .finally(() => client.end());
    if (rows[0]?.recovering === false) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
