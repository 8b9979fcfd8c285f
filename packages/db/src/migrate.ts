import { fileURLToPath } from "node:url";
import { runner } from "node-pg-migrate";
import pg from "pg";
import { ensureRoles } from "./roles.ts";

const MIGRATIONS = fileURLToPath(new URL("../migrations", import.meta.url));

/** Told what is done, a line each. */
export interface MigrateOptions {
  readonly onLine?: (line: string) => void;
}

/**
 * Brings the control database up to date: the roles, then every migration that has not run, all in one transaction.
 * Two processes at once are safe: the second waits for the first and finds nothing to do.
 * @param url postgres:// URL of a superuser, or of the database's owner with CREATEROLE
 */
export async function migrate(url: string, options: MigrateOptions = {}): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: "rowback-migrate" });
  // Without a listener a connection cut between two statements would end the process; the next statement reports it.
  client.on("error", () => undefined);
  await client.connect();
  try {
    await ensureRoles(client);
    await runner({
      dbClient: client,
      dir: MIGRATIONS,
      direction: "up",
      migrationsTable: "rowback_migrations",
      singleTransaction: true,
      advisoryLockMode: "wait",
      log: (line) => options.onLine?.(line),
    });
  } finally {
    await client.end();
  }
}
