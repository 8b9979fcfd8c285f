import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { onScopeEnd } from "./cleanup.ts";
import { testServices } from "./test-services.ts";

export interface TestDatabase {
  /** Of a superuser (or of whom `DATABASE_URL` names). */
  url: string;
  name: string;
  pool: pg.Pool;
  /** Happens by itself at the end of the test, or of the file when made outside a test. */
  drop(): Promise<void>;
}

export interface TestRole {
  name: string;
  /** The database, as this role. */
  url: string;
}

interface Backend {
  application_name: string;
  state: string | null;
  query: string;
}

async function asAdmin<T>(fn: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: testServices().postgresUrl, application_name: "rowback-testing" });
  await client.connect();
  try {
    return await fn(client);
  } finally {
    await client.end();
  }
}

/** A closed connection's backend needs a moment to go; what is still there after two seconds was never closed. */
async function openConnections(admin: pg.Client, database: string): Promise<Backend[]> {
  const deadline = Date.now() + 2_000;
  for (;;) {
    const { rows } = await admin.query<Backend>(
      `SELECT application_name, state, left(query, 120) AS query FROM pg_stat_activity
       WHERE datname = $1 AND backend_type IN ('client backend', 'walsender')`,
      [database],
    );
    if (rows.length === 0 || Date.now() > deadline) return rows;
    await delay(20);
  }
}

async function dropSlots(admin: pg.Client, database: string): Promise<string[]> {
  const { rows } = await admin.query<{ slot_name: string }>(
    "SELECT slot_name FROM pg_replication_slots WHERE database = $1",
    [database],
  );
  for (const { slot_name } of rows) await admin.query("SELECT pg_drop_replication_slot($1)", [slot_name]);
  return rows.map((row) => row.slot_name);
}

async function dropDatabase(name: string): Promise<void> {
  await asAdmin(async (admin) => {
    const leaked = await openConnections(admin, name);
    await admin.query(`ALTER DATABASE ${pg.escapeIdentifier(name)} ALLOW_CONNECTIONS false`);
    await admin.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", [name]);
    await openConnections(admin, name);
    const slots = await dropSlots(admin, name);
    await admin.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`);
    if (leaked.length > 0) {
      const list = leaked.map(
        (row) => `  ${row.application_name || "(no application_name)"}: ${row.state} ${row.query}`,
      );
      throw new Error(
        `LEAK: ${leaked.length} connection(s) to the test's database were never closed:\n${list.join("\n")}`,
      );
    }
    if (slots.length > 0) throw new Error(`LEAK: replication slot(s) ${slots.join(", ")} were never dropped`);
  });
}

/**
 * A fresh database on the run's PostgreSQL 18 (`wal_level=logical`), with a pool of up to 10 connections. It is dropped
 * when the test ends (when called outside a test: the file). A connection or replication slot left open then fails the
 * test by name. `name` only makes it easier to recognise.
 */
export async function testDatabase(name = "db"): Promise<TestDatabase> {
  const { runId, postgresUrl } = testServices();
  const label = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "_")
    .slice(0, 20);
  const database = `rowback_test_${runId}_${label}_${randomBytes(4).toString("hex")}`;
  await asAdmin((admin) => admin.query(`CREATE DATABASE ${pg.escapeIdentifier(database)} TEMPLATE template0`));
  const url = new URL(postgresUrl);
  url.pathname = `/${database}`;
  const pool = new pg.Pool({ connectionString: url.href, max: 10, application_name: "rowback-test-pool" });
  pool.on("error", () => {});
  let dropped: Promise<void> | null = null;
  const drop = (): Promise<void> => {
    dropped ??= (async () => {
      if (!pool.ended) await pool.end();
      await dropDatabase(database);
    })();
    return dropped;
  };
  onScopeEnd(drop);
  return { url: url.href, name: database, pool, drop };
}

/**
 * A role that may log in to the test's database, by default without any privilege there (as a customer's would begin).
 * Dropped, with what it owns, before the database. `attributes`: for CREATE ROLE, such as `BYPASSRLS`.
 */
export async function testRole(database: TestDatabase, attributes = ""): Promise<TestRole> {
  const name = `rowback_test_${testServices().runId}_role_${randomBytes(4).toString("hex")}`;
  const password = randomBytes(12).toString("hex");
  const role = pg.escapeIdentifier(name);
  await database.pool.query(`CREATE ROLE ${role} LOGIN PASSWORD ${pg.escapeLiteral(password)} ${attributes}`);
  onScopeEnd(async () => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      await client.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", [name]);
      await client.query(`DROP OWNED BY ${role} CASCADE`);
      await client.query(`DROP ROLE ${role}`);
    } finally {
      await client.end();
    }
  });
  const url = new URL(database.url);
  url.username = name;
  url.password = password;
  return { name, url: url.href };
}
