import { testDatabase } from "@rowback/local-services/testing";
import fc from "fast-check";
import type pg from "pg";
import { describe, expect, it } from "vitest";
import { RecoveryError } from "../errors.ts";
import { readCatalog } from "./catalog.ts";
import { planScopes } from "./discovery.ts";
import { quoteLiteral, quoteName, quoteTable } from "./identifiers.ts";
import { tenantPredicate, tenantRows, tenantSchema } from "./scope-sql.ts";
import type { SourceClient } from "./source.ts";
import type { Tenancy } from "./tenancy.ts";
import { HARD_TENANTS, hardTypesSql } from "./testing/fixtures.ts";
import { withSourceClient } from "./testing/with-source.ts";

const BY_COLUMN = { mode: "column", column: "tenant_id" } as const;

/** Rows of the tenant per table, by the SQL that discovery's scopes give. */
async function countRows(client: SourceClient, tenancy: Tenancy, tenantKey: string): Promise<Record<string, number>> {
  const catalog = await readCatalog(client);
  const counts: Record<string, number> = {};
  for (const { table, scope } of planScopes(catalog, tenancy, [])) {
    if (scope === null || scope.kind === "shared") continue;
    const target = { catalog, table, scope, tenancy, tenantKey };
    const columns = catalog.tables.find((one) => one.table === table)?.columns.map((column) => column.name) ?? [];
    const { rowCount } = await client.query(tenantRows(target, columns));
    const { rows } = await client.query(
      `SELECT count(*)::int AS n FROM ${quoteTable(table)} AS x WHERE ${tenantPredicate(target, "x")}`,
    );
    expect(rows[0].n, table.name).toBe(rowCount);
    counts[table.name] = rowCount ?? -1;
  }
  return counts;
}

describe("tenantRows", () => {
  it("gives each tenant its own rows once, through columns, paths, partitions and composite keys", async () => {
    const database = await testDatabase("scope");
    await database.pool.query(await hardTypesSql());
    await withSourceClient(database.url, async (client) => {
      const expected = {
        "Mixed Case.Näme": 3,
        cycle_a: 1,
        cycle_b: 1,
        events: 10,
        no_key: 8,
        nodes: 7,
        note_tags: 7,
        notes: 14,
        tenants: 1,
        types: 3,
      };
      expect(await countRows(client, BY_COLUMN, HARD_TENANTS.a)).toEqual(expected);
      expect(await countRows(client, BY_COLUMN, HARD_TENANTS.b)).toEqual({ ...expected, types: 2 });
      const empty = Object.fromEntries(Object.keys(expected).map((name) => [name, name === "tenants" ? 1 : 0]));
      expect(await countRows(client, BY_COLUMN, HARD_TENANTS.empty)).toEqual(empty);
    });
  });

  it("never cuts a key to the column's length, and compares citext as its foreign key does", async () => {
    const database = await testDatabase("cut");
    await database.pool.query(`CREATE EXTENSION citext SCHEMA public; CREATE DOMAIN public.short AS varchar(5);
      CREATE TABLE public.tenants (id varchar(5) PRIMARY KEY, name public.citext UNIQUE);
      CREATE TABLE public.a (tenant_id varchar(5) NOT NULL REFERENCES public.tenants); CREATE TABLE public.b (tenant_id char(5) NOT NULL);
      CREATE TABLE public.c (tenant_id public.short NOT NULL); CREATE TABLE public.d (tenant_id name NOT NULL);
      CREATE TABLE public.e (owner public.citext NOT NULL REFERENCES public.tenants (name)); CREATE TABLE public.f (tenant_id public.citext NOT NULL);
      INSERT INTO public.tenants VALUES ('abcde', 'Acme'); INSERT INTO public.a VALUES ('abcde'); INSERT INTO public.b VALUES ('abcde');
      INSERT INTO public.c VALUES ('abcde'); INSERT INTO public.d VALUES ('abcde'); INSERT INTO public.e VALUES ('ACME');
      INSERT INTO public.f VALUES ('ABCDE')`);
    await withSourceClient(database.url, async (client) => {
      expect(await countRows(client, BY_COLUMN, "abcde")).toEqual({ a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, tenants: 1 });
      expect(await countRows(client, BY_COLUMN, "abcdef")).toEqual({ a: 0, b: 0, c: 0, d: 0, e: 0, f: 0, tenants: 0 });
      expect(await countRows(client, BY_COLUMN, "abcde".padEnd(64, "x"))).toMatchObject({ d: 0 });
    });
  });

  it("finds integer keys of any width, and none for a key that is no number", async () => {
    const database = await testDatabase("ints");
    await database.pool.query(`CREATE TABLE public.tenants (id int PRIMARY KEY); CREATE TABLE public.a (tenant_id int NOT NULL REFERENCES public.tenants);
      CREATE TABLE public.b (tenant_id bigint NOT NULL REFERENCES public.tenants); INSERT INTO public.tenants VALUES (42), (-1);
      INSERT INTO public.a VALUES (42); INSERT INTO public.b VALUES (42), (-1)`);
    await withSourceClient(database.url, async (client) => {
      expect(await countRows(client, BY_COLUMN, "42")).toEqual({ a: 1, b: 1, tenants: 1 });
      expect(await countRows(client, BY_COLUMN, "-1")).toEqual({ a: 0, b: 1, tenants: 1 });
      expect(await countRows(client, BY_COLUMN, "9223372036854775807")).toEqual({ a: 0, b: 0, tenants: 0 });
      for (const key of ["", " 42", "042", "4.2", "-0", "9223372036854775808", "42 OR true", "acme"]) {
        await expect(countRows(client, BY_COLUMN, key), key).rejects.toMatchObject({ code: "tenant_not_in_source" });
      }
    });
  });

  it("reads a plain parent without its inheriting children, which are tables of their own", async () => {
    const database = await testDatabase("only");
    await database.pool.query(`CREATE TABLE public.parent (tenant_id int NOT NULL, n int); CREATE TABLE public.child () INHERITS (public.parent);
      INSERT INTO public.parent VALUES (1, 1); INSERT INTO public.child VALUES (1, 2), (1, 3)`);
    const counts = await withSourceClient(database.url, async (client) => {
      const catalog = await readCatalog(client);
      return Promise.all(
        planScopes(catalog, BY_COLUMN, []).map(async ({ table, scope }) => {
          if (scope === null) throw new Error("unscoped");
          return (await client.query(tenantRows({ catalog, table, scope, tenancy: BY_COLUMN, tenantKey: "1" }, ["n"])))
            .rowCount;
        }),
      );
    });
    expect(counts).toEqual([2, 1]);
  });

  it("reads a schema tenant's own schema only", async () => {
    const database = await testDatabase("schemas");
    await database.pool.query(`CREATE SCHEMA tenant_a; CREATE SCHEMA tenant_b; CREATE TABLE tenant_a.t (n int); CREATE TABLE tenant_b.t (n int);
      INSERT INTO tenant_a.t VALUES (1)`);
    const tenancy = { mode: "schema", pattern: "tenant_{key}" } as const;
    expect(tenantSchema(tenancy, "$&")).toBe("tenant_$&");
    await withSourceClient(database.url, async (client) => {
      const catalog = await readCatalog(client);
      const rows = (schema: string): string =>
        tenantRows({ catalog, table: { schema, name: "t" }, scope: { kind: "schema" }, tenancy, tenantKey: "a" }, [
          "n",
        ]);
      expect((await client.query(rows("tenant_a"))).rowCount).toBe(1);
      expect(() => rows("tenant_b")).toThrow(RecoveryError);
    });
  });

  it("uses the foreign key's index on a path, where the tenant is small", async () => {
    const database = await testDatabase("plan");
    await database.pool.query(`CREATE TABLE public.orders (id int PRIMARY KEY, tenant_id int NOT NULL); CREATE TABLE public.lines (order_id int NOT NULL REFERENCES public.orders, n int);
      INSERT INTO public.orders SELECT n, n / 10 FROM generate_series(1, 20000) n; INSERT INTO public.lines SELECT n % 20000 + 1, n FROM generate_series(1, 100000) n;
      CREATE INDEX ON public.orders (tenant_id); CREATE INDEX lines_order ON public.lines (order_id)`);
    await database.pool.query("ANALYZE");
    await withSourceClient(database.url, async (client) => {
      const catalog = await readCatalog(client);
      const found = planScopes(catalog, BY_COLUMN, []).find(({ table }) => table.name === "lines");
      if (found === undefined || found.scope === null) throw new Error("unscoped");
      const sql = tenantRows({ catalog, table: found.table, scope: found.scope, tenancy: BY_COLUMN, tenantKey: "77" }, [
        "n",
      ]);
      const { rows } = await client.query<{ "QUERY PLAN": string }>(`EXPLAIN ${sql}`);
      const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
      expect(plan).toContain("lines_order");
      expect(plan).not.toContain("Seq Scan");
    });
  });

  it("lets no name and no key break out", async () => {
    const database = await testDatabase("hostile");
    const hostile = fc.oneof(
      fc.string({ minLength: 1, maxLength: 12, unit: "grapheme" }),
      fc.constantFrom(
        `"; DROP TABLE x; --`,
        "'; --",
        "\\'",
        "$$",
        "E'\\''",
        "/*",
        "t.*",
        "a\nb",
        "$1",
        "%I",
        "🦆\"'",
        "' OR true --",
      ),
    );
    const name = hostile.filter((text) => text.isWellFormed() && !text.includes("\0") && Buffer.byteLength(text) <= 63);
    await withSourceClient(database.url, async (client) => {
      await fc.assert(
        fc.asyncProperty(name, name, name, hostile, hostile, async (schema, table, column, mine, other) => {
          fc.pre(mine.isWellFormed() && other.isWellFormed() && !/\0/.test(mine + other) && mine !== other);
          fc.pre(!/^pg_/.test(schema) && schema !== "information_schema" && schema !== "public");
          await client.query("BEGIN");
          try {
            const target = { schema, name: table };
            await client.query(
              `CREATE SCHEMA ${quoteName(schema)}; CREATE TABLE ${quoteTable(target)} (${quoteName(column)} text NOT NULL)`,
            );
            await client.query(
              `INSERT INTO ${quoteTable(target)} VALUES (${quoteLiteral(mine)}), (${quoteLiteral(other)})`,
            );
            const catalog = await readCatalog(client);
            const tenancy = { mode: "column", column } as const;
            const sql = tenantRows(
              { catalog, table: target, scope: { kind: "direct", column }, tenancy, tenantKey: mine },
              [column],
            );
            const { rows }: pg.QueryResult<Record<string, string>> = await client.query(sql);
            expect(rows.map((row) => Object.values(row))).toEqual([[mine]]);
          } finally {
            await client.query("ROLLBACK");
          }
        }),
        { numRuns: 60 },
      );
    });
  });
});
