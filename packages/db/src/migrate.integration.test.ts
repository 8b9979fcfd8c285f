import { type PostgresServer, startPostgres } from "@rowback/local-services";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openControlDatabase } from "./control-database.ts";
import { migrate } from "./migrate.ts";
import { getTenant } from "./tables/tenants.ts";
import { withTenant } from "./tenant-context.ts";
import { newSource, newTenant } from "./testing/control-fixture.ts";

// Roles belong to the cluster, so these tests need clusters that no other test has put the roles into.
describe.each(["embedded", "debian"] as const)("migrating a fresh cluster (%s)", (distribution) => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startPostgres({ distribution });
  });
  afterAll(() => server.stop());

  async function asAdmin(...statements: string[]): Promise<pg.QueryResult[]> {
    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    try {
      const results: pg.QueryResult[] = [];
      for (const statement of statements) results.push(await client.query(statement));
      return results;
    } finally {
      await client.end();
    }
  }

  function urlOf(database: string, user?: string): string {
    const url = new URL(server.url);
    url.pathname = `/${database}`;
    if (user !== undefined) {
      url.username = user;
      url.password = "secret";
    }
    return url.href;
  }

  test("several databases, each by several processes, at the same moment", async () => {
    const databases = ["control_a", "control_b", "control_c"];
    await asAdmin(...databases.map((name) => `CREATE DATABASE ${name}`));

    await Promise.all(databases.flatMap((name) => [1, 2, 3].map(() => migrate(urlOf(name)))));

    const roles = await asAdmin(
      "SELECT rolname, rolcanlogin, rolsuper, rolbypassrls FROM pg_roles WHERE rolname ~ '^rowback' ORDER BY 1",
    );
    expect(roles[0]?.rows).toEqual([
      { rolname: "rowback_system", rolcanlogin: false, rolsuper: false, rolbypassrls: false },
      { rolname: "rowback_tenant", rolcanlogin: false, rolsuper: false, rolbypassrls: false },
    ]);
  });

  test("as a plain owner with CREATEROLE, several at once, and working afterwards", async () => {
    await asAdmin(
      ...["control_a", "control_b", "control_c"].map((name) => `DROP DATABASE IF EXISTS ${name}`),
      "DROP ROLE IF EXISTS rowback_tenant, rowback_system",
      "CREATE ROLE owner LOGIN CREATEROLE PASSWORD 'secret'",
      "CREATE DATABASE owned_a OWNER owner",
      "CREATE DATABASE owned_b OWNER owner",
    );

    await Promise.all(["owned_a", "owned_b", "owned_a"].map((name) => migrate(urlOf(name, "owner"))));
    await migrate(urlOf("owned_a", "owner"));

    const db = openControlDatabase({ url: urlOf("owned_a", "owner"), maxConnections: 2, applicationName: "test" });
    try {
      const sourceId = await newSource(db);
      const mine = await newTenant(db, sourceId, "mine");
      const other = await newTenant(db, sourceId, "other");
      expect(await withTenant(db, mine, (client) => getTenant(client, mine))).toMatchObject({ key: "mine" });
      expect(await withTenant(db, mine, (client) => getTenant(client, other))).toBeNull();
    } finally {
      await db.close();
    }
    // Row-level security is forced on the owner as well: by itself it sees no row.
    const owner = new pg.Client({ connectionString: urlOf("owned_a", "owner") });
    await owner.connect();
    try {
      const visible = await owner.query("SET ROLE NONE; SELECT count(*)::int AS count FROM tenants");
      const rows = Array.isArray(visible) ? visible[1].rows : [];
      expect(rows).toEqual([{ count: distribution === "embedded" ? 0 : 2 }]);
    } finally {
      await owner.end();
    }
  });

  test("a user who can neither create nor become the roles is told what to ask for", async () => {
    await asAdmin("CREATE ROLE plain LOGIN PASSWORD 'secret'", "CREATE DATABASE plain OWNER plain");
    await expect(migrate(urlOf("plain", "plain"))).rejects.toThrow(/ask an administrator .* GRANT "rowback_tenant" TO/);
  });
});
