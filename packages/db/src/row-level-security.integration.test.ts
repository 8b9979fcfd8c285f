import { randomBytes, randomUUID } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { allRows } from "./rows.ts";
import { insertApiKey } from "./tables/api-keys.ts";
import { insertAuditEntry } from "./tables/audit-log.ts";
import { setMember } from "./tables/members.ts";
import { replaceProtectedTables } from "./tables/protected-tables.ts";
import { insertRestorePointRun } from "./tables/restore-points.ts";
import { insertRestoreRun } from "./tables/restores.ts";
import { insertSource } from "./tables/sources.ts";
import { updateTenantSettings } from "./tables/tenant-settings.ts";
import { withTenant } from "./tenant-context.ts";
import { type ControlFixture, controlFixture, createdId } from "./testing/control-fixture.ts";

// DESIGN §5.8: whatever a statement forgets, a tenant sees and changes nothing of another. Which tables that concerns is
// read from the catalogue, so a table that a later migration adds can't be forgotten here.

let control: ControlFixture;
let tables: TenantTable[];
/** What concerns a tenant and is none of its business: wrapped keys, and what operators decided. */
const SYSTEM_ONLY = ["erasures", "tenant_keys"];
let systemTables: TenantTable[];
beforeAll(async () => {
  control = await controlFixture("rls");
  for (const tenantId of [control.tenantId, control.otherTenantId]) await fillEveryTable(tenantId);
  const all = await tenantTables();
  tables = all.filter(({ name }) => !SYSTEM_ONLY.includes(name));
  systemTables = all.filter(({ name }) => SYSTEM_ONLY.includes(name));
});
afterAll(() => control.close());

const TenantTable = z.object({
  name: z.string(),
  forced: z.boolean(),
  policies: z.array(z.string()),
  columns: z.array(z.string()),
});
type TenantTable = z.infer<typeof TenantTable>;

async function tenantTables(): Promise<TenantTable[]> {
  const result = await control.database.pool.query(`
    SELECT c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced,
      ARRAY(SELECT DISTINCT role::regrole::text FROM pg_policy p, unnest(p.polroles) AS role WHERE p.polrelid = c.oid ORDER BY 1) AS policies,
      ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id' AND NOT t.attisdropped
    WHERE c.relkind IN ('r', 'p', 'm', 'v') AND c.relnamespace = 'public'::regnamespace ORDER BY 1`);
  return allRows(result, TenantTable);
}

/** A row of this tenant in every table with a tenant_id; the next test fails for a table that has none. */
async function fillEveryTable(tenantId: string): Promise<void> {
  const { db, sourceId } = control;
  const backupId = await control.queuedBackup({ tenantId });
  createdId(
    await insertRestoreRun(
      db.system,
      { kind: "restore_preview", tenantId, sourceId, maxAttempts: 1, requestedBy: "user-1" },
      { targetSourceId: sourceId, backupId, mode: "exact", tables: null, keys: null },
    ),
  );
  createdId(
    await insertRestorePointRun(db.system, { tenantId, sourceId, maxAttempts: 1, requestedBy: "user-1" }, "before"),
  );
  await setMember(db.system, { userId: "user-1", tenantId, role: "owner" });
  await updateTenantSettings(db.system, tenantId, { backupsPerHour: 11 });
  await insertAuditEntry(db.system, { userId: "user-1", action: "backup.create", tenantId });
  await withTenant(db, tenantId, (client) =>
    insertApiKey(client, {
      name: "ci",
      prefix: randomBytes(8).toString("hex"),
      secretSha256: randomBytes(32),
      scopes: ["backup:read"],
      createdBy: "user-1",
      expiresAt: new Date(Date.now() + 3_600_000),
    }),
  );
}

/** Runs SQL with no WHERE clause of its own as `rowback_tenant`, in a transaction that is rolled back. */
async function asTenant(tenantId: string, text: string, values: unknown[] = []): Promise<pg.QueryResult> {
  const client = await control.database.pool.connect();
  try {
    await client.query(`BEGIN; SET LOCAL ROLE rowback_tenant; SET LOCAL rowback.tenant_id = '${tenantId}'`);
    return await client.query(text, values);
  } finally {
    await client.query("ROLLBACK");
    client.release();
  }
}

async function refusal(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => "done",
    (error: unknown) => (error instanceof pg.DatabaseError ? (error.code ?? "?") : String(error)),
  );
}

const PRIVILEGE_MISSING = "42501"; // also: new row violates row-level security policy
const GENERATED_ALWAYS = "428C9";
const CHECK_VIOLATION = "23514";
const FOREIGN_KEY_VIOLATION = "23503";

describe("row-level security", () => {
  test("is forced, with a policy per role, on every table that has a tenant_id", () => {
    expect(tables.map((table) => table.name)).toEqual(
      expect.arrayContaining(["audit_log", "backup_jobs", "restore_jobs", "runs", "tenant_settings", "user_tenants"]),
    );
    for (const table of tables) {
      expect(table, table.name).toMatchObject({ forced: true, policies: ["rowback_system", "rowback_tenant"] });
    }
  });

  test("the system's own tables are closed to tenants altogether", async () => {
    expect(systemTables.map(({ name }) => name)).toEqual(SYSTEM_ONLY);
    for (const { name, forced, policies } of systemTables) {
      expect({ forced, policies }, name).toEqual({ forced: true, policies: ["rowback_system"] });
      for (const sql of [
        `SELECT 1 FROM ${name}`,
        `INSERT INTO ${name} DEFAULT VALUES`,
        `UPDATE ${name} SET tenant_id = NULL`,
        `DELETE FROM ${name}`,
      ]) {
        expect(await refusal(asTenant(control.tenantId, sql)), sql).toBe(PRIVILEGE_MISSING);
      }
    }
  });

  test("the roles can't get around it", async () => {
    const { rows } = await control.database.pool.query(`
      SELECT rolname FROM pg_roles r WHERE rolname IN ('rowback_tenant', 'rowback_system') AND (rolsuper OR rolbypassrls
        OR rolcreaterole OR rolreplication OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid)
        OR EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid))`);
    expect(rows).toEqual([]);
  });

  test("with no WHERE clause, a tenant sees its own rows and nobody else's, in every table", async () => {
    for (const { name } of tables) {
      const seen = await asTenant(control.tenantId, `SELECT DISTINCT tenant_id FROM ${name}`);
      expect(seen.rows, name).toEqual([{ tenant_id: control.tenantId }]);
    }
  });

  test("with no WHERE clause, a tenant changes nobody else's rows, in every table and column", async () => {
    for (const { name, columns } of tables) {
      for (const column of columns) {
        const code = await refusal(
          asTenant(control.tenantId, `UPDATE ${name} SET ${column} = ${column} RETURNING tenant_id`).then((result) => {
            for (const row of result.rows) expect(row, `${name}.${column}`).toEqual({ tenant_id: control.tenantId });
          }),
        );
        expect(["done", PRIVILEGE_MISSING, GENERATED_ALWAYS, CHECK_VIOLATION], `${name}.${column}`).toContain(code);
      }
    }
    // What a tenant may change at all: these reach its rows, and only those.
    for (const sql of [
      "UPDATE backup_jobs SET deleted_at = now() RETURNING tenant_id",
      "UPDATE runs SET status = 'cancelled', cancel_requested_at = now(), finished_at = now() RETURNING tenant_id",
    ]) {
      const changed = new Set((await asTenant(control.tenantId, sql)).rows.map((row) => row.tenant_id));
      expect(changed, sql).toEqual(new Set([control.tenantId]));
    }
  });

  test("a tenant deletes nothing at all, in every table", async () => {
    for (const { name } of tables) {
      expect(await refusal(asTenant(control.tenantId, `DELETE FROM ${name}`)), name).toBe(PRIVILEGE_MISSING);
      expect(await refusal(asTenant(control.tenantId, `TRUNCATE ${name} CASCADE`)), name).toBe(PRIVILEGE_MISSING);
    }
  });

  test("a tenant inserts no row for another, in every table", async () => {
    for (const { name, columns } of tables) {
      // The other tenant's row as a template: all that could be wrong with the copy is whose it is.
      const all = await control.database.pool.query(`SELECT * FROM ${name} WHERE tenant_id = $1 LIMIT 1`, [
        control.otherTenantId,
      ]);
      const granted = await grantedColumns(name, columns);
      const values = granted.map((column) =>
        column === "id" || column === "run_id" ? randomUUID() : all.rows[0][column],
      );
      const sql = `INSERT INTO ${name} (${granted.join(", ")}) VALUES (${granted.map((_, index) => `$${index + 1}`).join(", ")})`;
      if (granted.length === 0) {
        const copy = asTenant(control.tenantId, `INSERT INTO ${name} SELECT * FROM ${name}`);
        expect(await refusal(copy), name).toBe(PRIVILEGE_MISSING);
        continue;
      }
      expect(await refusal(asTenant(control.tenantId, sql, values)), name).toBe(PRIVILEGE_MISSING);
      // The other tenant itself gets past row-level security with the very same row.
      expect(await refusal(asTenant(control.otherTenantId, sql, values)), name).not.toBe(PRIVILEGE_MISSING);
    }
  });

  async function grantedColumns(table: string, columns: string[]): Promise<string[]> {
    const { rows } = await control.database.pool.query(
      "SELECT c FROM unnest($2::text[]) c WHERE has_column_privilege('rowback_tenant', $1::text, c, 'INSERT')",
      [table, columns],
    );
    return allRows({ rows }, z.object({ c: z.string() })).map((row) => row.c);
  }

  test("a tenant can't refer to another's backup or run", async () => {
    const foreign = await control.queuedBackup({ tenantId: control.otherTenantId });
    const { sourceId, tenantId } = control;
    const insert = withTenant(control.db, tenantId, (client) =>
      insertRestoreRun(
        client,
        { kind: "restore_preview", tenantId, sourceId, maxAttempts: 1, requestedBy: "user-1" },
        { targetSourceId: sourceId, backupId: foreign, mode: "exact", tables: null, keys: null },
      ),
    );
    expect(await refusal(insert)).toBe(FOREIGN_KEY_VIOLATION);
    expect(
      await refusal(
        asTenant(
          tenantId,
          `INSERT INTO backup_jobs (run_id, tenant_id, source_id, type, purpose) VALUES ($1, $2, $3, 'full', 'manual')`,
          [await control.queuedRun({ tenantId: control.otherTenantId }), tenantId, sourceId],
        ),
      ),
    ).toBe(FOREIGN_KEY_VIOLATION);
  });

  test("without a tenant, a tenant's statement fails rather than find nothing", async () => {
    const client = await control.database.pool.connect();
    try {
      await client.query("SET ROLE rowback_tenant");
      for (const { name } of tables) {
        await expect(client.query(`SELECT tenant_id FROM ${name}`), name).rejects.toThrow(/rowback\.tenant_id|uuid/);
      }
    } finally {
      await client.query("RESET ROLE");
      client.release();
    }
  });

  test("tenants and sources: only its own, and never how to reach a source", async () => {
    await insertSource(control.db.system, {
      name: "another",
      connection: { kind: "sealed", sealed: "v1.x" },
      tenancy: {},
    });
    await replaceProtectedTables(control.db.system, control.sourceId, [
      { schemaName: "public", tableName: "orders", scope: { kind: "direct", column: "tenant_id" } },
    ]);
    expect((await asTenant(control.tenantId, "SELECT id FROM tenants")).rows).toEqual([{ id: control.tenantId }]);
    expect((await asTenant(control.tenantId, "SELECT id FROM sources")).rows).toEqual([{ id: control.sourceId }]);
    expect((await asTenant(control.tenantId, "SELECT table_name FROM protected_tables")).rows).toHaveLength(1);
    for (const sql of [
      "SELECT connection_ref FROM sources",
      "SELECT connection_sealed FROM sources",
      "SELECT * FROM sources",
      "SELECT * FROM operators",
      "SELECT secret_sha256 FROM api_keys",
      "UPDATE api_keys SET scopes = '{operator}'",
      "UPDATE api_keys SET expires_at = 'infinity'",
      "UPDATE api_keys SET created_by = 'user-2'",
      "UPDATE tenants SET name = 'x'",
      "UPDATE tenant_settings SET storage_quota_bytes = NULL",
      "UPDATE tenant_settings SET backups_per_hour = 1000000",
      "INSERT INTO operators VALUES ('user-1')",
      "DELETE FROM protected_tables",
    ]) {
      expect(await refusal(asTenant(control.tenantId, sql)), sql).toBe(PRIVILEGE_MISSING);
    }
  });

  test("all that a tenant can do to a run is to cancel it", async () => {
    const runId = await control.queuedRun();
    for (const [sql, code] of [
      ["UPDATE runs SET status = 'succeeded', finished_at = now() WHERE id = $1", CHECK_VIOLATION],
      ["UPDATE runs SET status = 'running' WHERE id = $1", PRIVILEGE_MISSING],
      ["UPDATE runs SET cancel_requested_at = now() WHERE id = $1", CHECK_VIOLATION],
      ["UPDATE runs SET status = 'cancelled', finished_at = now() WHERE id = $1", PRIVILEGE_MISSING],
      ["UPDATE runs SET attempt_token = gen_random_uuid() WHERE id = $1", PRIVILEGE_MISSING],
      ["UPDATE runs SET available_at = now() - interval '1 day' WHERE id = $1", CHECK_VIOLATION],
      ["UPDATE runs SET result = '{}' WHERE id = $1", PRIVILEGE_MISSING],
      ["UPDATE runs SET status = 'cancelled', cancel_requested_at = now(), finished_at = now() WHERE id = $1", "done"],
    ] as const) {
      expect(await refusal(asTenant(control.tenantId, sql, [runId])), sql).toBe(code);
    }
  });
});

describe("the audit log", () => {
  test.each(["rowback_tenant", "rowback_system", "none"])(
    "takes no change and no deletion from role %s",
    async (role) => {
      const client = await control.database.pool.connect();
      try {
        for (const sql of ["UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]) {
          await client.query(`BEGIN; SET LOCAL ROLE ${role}; SET LOCAL rowback.tenant_id = '${control.tenantId}'`);
          expect(await refusal(client.query(sql)), sql).toBe(PRIVILEGE_MISSING);
          await client.query("ROLLBACK");
        }
      } finally {
        client.release();
      }
    },
  );
});
