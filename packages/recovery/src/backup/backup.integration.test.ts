import { pipeline } from "node:stream/promises";
import { testDatabase, testRole } from "@rowback/local-services/testing";
import type pg from "pg";
import copyStreams from "pg-copy-streams";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openBackup } from "../archive/backup-reader.ts";
import { fingerprintOfCopyStream } from "../archive/fingerprint.ts";
import { quoteColumns, quoteTable } from "../postgres/identifiers.ts";
import { SESSION_SETTINGS } from "../postgres/source.ts";
import { type TableName, tableLabel } from "../postgres/tenancy.ts";
import { HARD_TENANTS, hardTypesSql } from "../postgres/testing/fixtures.ts";
import { backupTenant } from "./run.ts";
import { keysOf, newBackup, type TestContext, testContext } from "./testing/context.ts";
import { verifyBackup } from "./verify.ts";

const MEBIBYTE = 1_048_576;

async function context(url: string, options: Parameters<typeof testContext>[1] = {}): Promise<TestContext> {
  const ctx = await testContext(url, options);
  onTestFinished(() => ctx.source.close());
  return ctx;
}

async function withSession<T>(pool: pg.Pool, fn: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    for (const [name, value] of Object.entries(SESSION_SETTINGS)) {
      await client.query("SELECT set_config($1, $2, false) FROM pg_settings WHERE name = $1", [name, value]);
    }
    return await fn(client);
  } finally {
    client.release(true);
  }
}

/** COPY text of a whole query, lines sorted. */
async function copyText(client: pg.PoolClient, select: string): Promise<string[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of client.query(copyStreams.to(`COPY (${select}) TO STDOUT`))) chunks.push(chunk);
  return Buffer.concat(chunks).toString().split("\n").toSorted();
}

describe("every type and shape of table", () => {
  let source: Awaited<ReturnType<typeof testDatabase>>;
  beforeAll(async () => {
    source = await testDatabase("hard");
    await source.pool.query(await hardTypesSql());
    await source.pool.query(
      `INSERT INTO hard.types (tenant_id, c_text, c_bytea, c_code) VALUES
       ($1, repeat('50 MB of text, with ü, a tab \t and a newline \n', 1200000), decode(repeat('00ff0a09', 1000000), 'hex'), 'large')`,
      [HARD_TENANTS.a],
    );
  });

  test("comes back byte for byte in another database", async () => {
    const ctx = await context(source.url);
    const backup = newBackup();
    const outcome = await backupTenant(ctx, { ...backup, tenantKey: HARD_TENANTS.a, tables: null });
    const archive = await openBackup(ctx.store, { ...backup, expectManifestSha256: outcome.manifestSha256 });
    expect(archive.manifest.tables.map(({ table }) => tableLabel(table))).toContain("hard.Mixed Case.Näme");
    expect(outcome.rawBytes).toBeGreaterThan(50 * MEBIBYTE);

    const target = await testDatabase("hard_target");
    await target.pool.query(await hardTypesSql());
    const tables = archive.manifest.tables;
    await target.pool.query(`TRUNCATE ${tables.map(({ table }) => quoteTable(table)).join(", ")}`);
    const whose = new Map(tables.map(({ table }) => [tableLabel(table), ""]));
    await withSession(target.pool, async (client) => {
      await client.query("SET session_replication_role = replica");
      for (const { table, columns } of tables) {
        const list = quoteColumns(columns.map(({ name }) => name));
        const copy = client.query(copyStreams.from(`COPY ${quoteTable(table)} (${list}) FROM STDIN`));
        await pipeline(archive.readTable(table), copy);
        whose.set(tableLabel(table), list);
      }
      for (const { table, fingerprint } of tables) {
        const select = `SELECT ${whose.get(tableLabel(table))} FROM ${quoteTable(table)}`;
        const text = client.query(copyStreams.to(`COPY (${select}) TO STDOUT`));
        expect(await fingerprintOfCopyStream(text), tableLabel(table)).toEqual(fingerprint);
      }
      // Fingerprints are the reader's own word; this is PostgreSQL's, with a generated column too.
      const own = `SELECT ${whose.get("hard.types")}, c_generated FROM hard.types WHERE tenant_id = '${HARD_TENANTS.a}' AND c_code <> 'large'`;
      const original = await withSession(source.pool, (from) => copyText(from, own));
      expect(await copyText(client, own)).toEqual(original);
    });
  });

  test("is verified whole, and a backup of some tables holds only those", async () => {
    const ctx = await context(source.url);
    const backup = newBackup();
    const outcome = await backupTenant(ctx, { ...backup, tenantKey: HARD_TENANTS.b, tables: ["nodes", "hard.no_key"] });
    expect(outcome.tables.map(({ table, rows }) => [tableLabel(table), rows])).toEqual([
      ["hard.no_key", 8],
      ["hard.nodes", 7],
    ]);
    expect(await verifyBackup(ctx, backup)).toMatchObject({ rowCount: 15, rawBytes: outcome.rawBytes });
    expect(outcome.objectCount).toBe(2);
    expect(await keysOf(ctx.store)).toHaveLength(2);
  });

  test("a tenant with nothing but its own row is a backup of one row", async () => {
    const ctx = await context(source.url);
    const backup = newBackup();
    const outcome = await backupTenant(ctx, { ...backup, tenantKey: HARD_TENANTS.empty, tables: null });
    expect([outcome.rowCount, outcome.objectCount]).toEqual([1, 2]);
    await verifyBackup(ctx, backup);
  });

  test.for([
    ["no such tenant", "ffffffff-ffff-4fff-8fff-ffffffffffff", null, "tenant_not_in_source"],
    ["no such tenant, tables chosen", "ffffffff-ffff-4fff-8fff-ffffffffffff", ["nodes"], "tenant_not_in_source"],
    ["a key that is no uuid", "acme'; DROP TABLE hard.nodes; --", null, "tenant_not_in_source"],
    ["an unknown table", HARD_TENANTS.a, ["nowhere"], "unknown_table"],
    ["SQL for a table", HARD_TENANTS.a, ['nodes"; DROP TABLE hard.nodes; --'], "unknown_table"],
    ["a shared table", HARD_TENANTS.a, ["countries"], "unknown_table"],
  ] as const)("%s is refused, and leaves nothing", async ([, tenantKey, tables, code]) => {
    const ctx = await context(source.url);
    await expect(backupTenant(ctx, { ...newBackup(), tenantKey, tables })).rejects.toMatchObject({ code });
    expect(await keysOf(ctx.store)).toEqual([]);
  });

  test("more than the tenant may store is refused, and leaves nothing", async () => {
    const ctx = await context(source.url);
    const request = { ...newBackup(), tenantKey: HARD_TENANTS.a, tables: null, maxStoredBytes: 5_000 };
    await expect(backupTenant(ctx, request)).rejects.toMatchObject({ code: "quota_exceeded", retryable: false });
    expect(await keysOf(ctx.store)).toEqual([]);
  });
});

test("a table that no rule covers, and row-level security that would hide rows, are named and refused", async () => {
  const database = await testDatabase("refused");
  await database.pool.query(`
    CREATE SCHEMA app;
    CREATE TABLE app.tenants (id int PRIMARY KEY);
    CREATE TABLE app.tickets (id int PRIMARY KEY, tenant_id int NOT NULL REFERENCES app.tenants);
    INSERT INTO app.tenants VALUES (1), (2);
    INSERT INTO app.tickets VALUES (1, 1), (2, 2);
    ALTER TABLE app.tickets ENABLE ROW LEVEL SECURITY;
    CREATE POLICY mine ON app.tickets USING (id < 0)`);
  const role = await testRole(database);
  await database.pool.query(
    `GRANT USAGE ON SCHEMA app TO ${role.name}; GRANT SELECT ON ALL TABLES IN SCHEMA app TO ${role.name}`,
  );
  const ctx = await context(role.url);
  const request = { ...newBackup(), tenantKey: "1", tables: null };
  await expect(backupTenant(ctx, request)).rejects.toMatchObject({
    code: "source_rls_active",
    context: { table: "app.tickets", runId: request.backupId },
  });

  await database.pool.query(
    `ALTER TABLE app.tickets DISABLE ROW LEVEL SECURITY; REVOKE SELECT ON app.tickets FROM ${role.name}`,
  );
  await expect(backupTenant(ctx, request)).rejects.toMatchObject({ code: "source_privilege_missing" });

  await database.pool.query(
    `GRANT SELECT ON app.tickets TO ${role.name}; ALTER TABLE app.tickets ALTER tenant_id DROP NOT NULL`,
  );
  const unprotected = await backupTenant(ctx, request).then(
    () => null,
    (error: unknown) => error,
  );
  expect(unprotected).toMatchObject({ code: "table_unprotected", context: { table: "app.tickets" } });
  expect(await keysOf(ctx.store)).toEqual([]);
});

test("all tables come from one snapshot, on several connections, while somebody writes", async () => {
  const database = await testDatabase("one_snapshot");
  await database.pool.query(`
    CREATE TABLE tenants (id int PRIMARY KEY);
    INSERT INTO tenants VALUES (1);
    CREATE TABLE debits (id bigserial PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, filler text);
    CREATE TABLE credits (id bigserial PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, filler text);
    INSERT INTO debits (tenant_id, filler) SELECT 1, repeat(md5(n::text), 30) FROM generate_series(1, 40000) n;
    INSERT INTO credits (tenant_id, filler) SELECT 1, repeat(md5(n::text), 30) FROM generate_series(1, 40000) n;
    ANALYZE`);
  const ctx = await context(database.url);
  let writing = true;
  const writer = (async () => {
    while (writing) {
      await database.pool.query(
        "WITH d AS (INSERT INTO debits (tenant_id) VALUES (1)) INSERT INTO credits (tenant_id) VALUES (1)",
      );
    }
  })();
  try {
    for (let round = 0; round < 2; round += 1) {
      const backup = newBackup();
      const outcome = await backupTenant(ctx, { ...backup, tenantKey: "1", tables: null, connections: 2 });
      const rows = new Map(outcome.tables.map((table) => [table.table.name, table.rows]));
      expect(rows.get("debits")).toBe(rows.get("credits"));
      const { manifest } = await openBackup(ctx.store, backup);
      expect(manifest.parts.length, "two lanes were at work").toBeGreaterThan(1);
      expect(manifest.sequences.map(({ column }) => column)).toEqual(["id", "id"]);
    }
  } finally {
    writing = false;
    await writer;
  }
});

test("schema per tenant: its own tables, nobody else's", async () => {
  const database = await testDatabase("schemas");
  for (const schema of ["tenant_a", "tenant_b"]) {
    await database.pool.query(`CREATE SCHEMA ${schema}; CREATE TABLE ${schema}.items (id int PRIMARY KEY, name text);
      INSERT INTO ${schema}.items SELECT n, '${schema}' FROM generate_series(1, 5) n`);
  }
  const ctx = await context(database.url, { tenancy: { mode: "schema", pattern: "tenant_{key}" } });
  const backup = newBackup();
  const outcome = await backupTenant(ctx, { ...backup, tenantKey: "a", tables: null });
  expect(outcome.tables).toMatchObject([{ table: { schema: "tenant_a", name: "items" } satisfies TableName, rows: 5 }]);
  await expect(backupTenant(ctx, { ...newBackup(), tenantKey: "c", tables: null })).rejects.toMatchObject({
    code: "tenant_not_in_source",
  });
});
