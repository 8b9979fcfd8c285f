import { testDatabase, testRole } from "@rowback/local-services/testing";
import { describe, expect, it } from "vitest";
import { CatalogCache, readCatalog } from "./catalog.ts";
import { findTable } from "./catalog-lookup.ts";
import { readStamp } from "./catalog-stamp.ts";
import { planScopes } from "./discovery.ts";
import { hardTypesSql } from "./testing/fixtures.ts";
import { withSource, withSourceClient } from "./testing/with-source.ts";

describe("readCatalog", () => {
  it("knows the hard schema: columns without dropped ones, keys, partitions, sequences, foreign keys", async () => {
    const database = await testDatabase("hard");
    await database.pool.query(await hardTypesSql());
    const catalog = await withSourceClient(database.url, (client) => readCatalog(client));
    const table = (name: string) => findTable(catalog, { schema: "hard", name });
    expect(catalog.tables.map((one) => one.table.name)).toEqual([
      "Mixed Case.Näme",
      "countries",
      "cycle_a",
      "cycle_b",
      "events",
      "no_key",
      "nodes",
      "note_tags",
      "notes",
      "tenants",
      "types",
    ]);
    const columns = Object.fromEntries((table("types")?.columns ?? []).map((column) => [column.name, column]));
    expect(Object.keys(columns)).not.toContain("gone_1");
    expect(columns["id"]).toMatchObject({ identity: "always", type: "bigint", notNull: true });
    expect(columns["c_generated"]?.generated).toBe("stored");
    if (catalog.serverVersionNumber >= 180_000) expect(columns["c_virtual"]?.generated).toBe("virtual");
    expect(columns["c_code"]).toMatchObject({ type: "hard.code", baseType: "character varying" });
    expect(columns["c_char_5"]).toMatchObject({ type: "character(5)", baseType: "bpchar" });
    expect(columns["c_citext"]).toMatchObject({ type: "public.citext", equality: "OPERATOR(public.=)" });
    expect(columns["c_varchar"]?.equality).toBe("OPERATOR(pg_catalog.=)");
    expect(columns["c_mood"]).toMatchObject({ typeKind: "enum", equality: "OPERATOR(pg_catalog.=)" });
    expect(columns["c_positive_pair"]).toMatchObject({ typeKind: "composite", baseType: "hard.pair" });
    expect(columns["c_int_array"]).toMatchObject({ typeKind: "array", equality: "OPERATOR(pg_catalog.=)" });
    for (const without of ["c_json", "c_xml", "c_point"]) expect(columns[without]?.equality).toBeNull();
    expect(table("types")?.ownedSequences).toEqual([
      { sequence: { schema: "hard", name: "types_c_serial_seq" }, column: "c_serial", identity: false },
      { sequence: { schema: "hard", name: "types_id_seq" }, column: "id", identity: true },
    ]);
    expect(table("Mixed Case.Näme")?.key).toEqual(["tenant_id", "Order"]);
    expect(table("no_key")?.key).toBeNull();
    expect(table("events")).toMatchObject({
      kind: "partitioned",
      key: ["tenant_id", "id", "at"],
      hasInheritanceChildren: false,
    });
    expect(table("events")?.partitions).toHaveLength(5);
    expect(catalog.foreignKeys.find((key) => key.from.name === "note_tags")).toMatchObject({
      columns: ["note_node", "note_seq"],
      referenced: ["node_id", "seq"],
      notNull: true,
      enforced: true,
      partial: false,
      onDelete: "cascade",
    });
    expect(catalog.foreignKeys.filter((key) => key.from.name === "events")).toHaveLength(1);
  });

  it("leaves out system, extension and temporary tables, and tells plain inheritance, unlogged, foreign tables and triggers", async () => {
    const database = await testDatabase("kinds");
    await database.pool.query(`
      CREATE TABLE public.parent (a int NOT NULL UNIQUE DEFERRABLE, b int NOT NULL); CREATE TABLE public.child () INHERITS (public.parent);
      CREATE UNIQUE INDEX parent_b ON public.parent (b) WHERE b > 0; CREATE UNIQUE INDEX parent_ab ON public.parent (b, a);
      CREATE UNLOGGED TABLE public.fast (a int); CREATE TEMP TABLE temporary (a int);
      CREATE EXTENSION postgres_fdw; CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw;
      CREATE FOREIGN TABLE public.far (a int) SERVER other;
      CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
      CREATE TRIGGER t BEFORE INSERT OR UPDATE ON public.parent FOR EACH ROW EXECUTE FUNCTION public.f();
      ALTER TABLE public.parent DISABLE TRIGGER t;
      CREATE EXTENSION pg_stat_statements; CREATE TABLE public.owned (a int); ALTER EXTENSION pg_stat_statements ADD TABLE public.owned`);
    const catalog = await withSourceClient(database.url, (client) => readCatalog(client));
    const table = (name: string) => findTable(catalog, { schema: "public", name });
    expect(catalog.tables.map((one) => one.table.name)).toEqual(["child", "far", "fast", "parent"]);
    expect(table("parent")).toMatchObject({ hasInheritanceChildren: true, key: ["b", "a"], keyIsPrimary: false });
    expect(table("parent")?.otherUniqueIndexes.map((index) => index.name)).toEqual(["parent_b"]);
    expect(table("parent")?.triggers).toEqual([
      { name: "t", timing: "before", events: ["insert", "update"], level: "row", enabled: "disabled" },
    ]);
    expect(table("child")?.inheritsFrom).toEqual([{ schema: "public", name: "parent" }]);
    expect([table("fast")?.persistence, table("far")?.kind]).toEqual(["unlogged", "foreign"]);
  });

  it("sees what the role may do, and where policies would hide rows from it", async () => {
    const database = await testDatabase("role");
    const role = await testRole(database);
    const bypassing = await testRole(database, "BYPASSRLS");
    await database.pool.query(`CREATE TABLE public.t (a int); ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;
      GRANT SELECT, INSERT ON public.t TO "${role.name}", "${bypassing.name}"`);
    const catalog = await withSourceClient(role.url, (client) => readCatalog(client));
    expect(catalog.role).toEqual({ name: role.name, superuser: false, bypassRls: false, canSetReplicationRole: false });
    expect(catalog.tables[0]).toMatchObject({
      rowSecurity: { enabled: true, forced: false, active: true },
      privileges: { usage: true, select: true, insert: true, update: false, delete: false },
    });
    const other = await withSourceClient(bypassing.url, (client) => readCatalog(client));
    expect(other.tables[0]?.rowSecurity.active).toBe(false);
    expect(other.stamp).not.toBe(catalog.stamp);
  });

  it("reads 1,000 tables in a handful of queries", async () => {
    const database = await testDatabase("thousand");
    await database.pool.query(`CREATE TABLE public.tenants (id uuid PRIMARY KEY);
      DO $$ BEGIN FOR n IN 1..1000 LOOP
        EXECUTE format('CREATE TABLE public.t%s (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL REFERENCES public.tenants, name text, at timestamptz DEFAULT now(), amount numeric(10,2))', n);
      END LOOP; END $$`);
    await withSource(database.url, (source) =>
      source.connect(async (client) => {
        let queries = 0;
        const counted = new Proxy(client, {
          get(target, property) {
            if (property === "query") queries += 1;
            const value: unknown = Reflect.get(target, property);
            return typeof value === "function" ? value.bind(target) : value;
          },
        });
        const cache = new CatalogCache();
        const started = performance.now();
        const catalog = await readCatalog(counted, cache);
        const read = performance.now();
        const discovered = planScopes(catalog, source.tenancy, []);
        const planned = performance.now();
        const readQueries = queries;
        await readCatalog(client, cache);
        const again = performance.now();
        // biome-ignore lint/suspicious/noConsole: a measured figure, not a claim about time
        console.log(
          `1,001 tables: catalogue ${ms(read - started)}, scopes ${ms(planned - read)}, cached ${ms(again - planned)}, ${readQueries} queries`,
        );
        expect(discovered).toHaveLength(1_001);
        expect(discovered.every((found) => found.scope?.kind === "direct" || found.scope?.kind === "root")).toBe(true);
        expect(readQueries).toBeLessThanOrEqual(10);
      }),
    );
  });
});

const CHANGES: readonly [string, string][] = [
  ["ADD COLUMN", "ALTER TABLE public.a ADD COLUMN x int"],
  ["DROP COLUMN", "ALTER TABLE public.a DROP COLUMN b"],
  ["ALTER TYPE", "ALTER TABLE public.a ALTER COLUMN b TYPE varchar(30)"],
  ["a longer type, without a rewrite", "ALTER TABLE public.a ALTER COLUMN v TYPE varchar(30)"],
  ["SET NOT NULL", "ALTER TABLE public.a ALTER COLUMN b SET NOT NULL"],
  ["SET DEFAULT", "ALTER TABLE public.a ALTER COLUMN b SET DEFAULT 'x'"],
  ["a renamed column", "ALTER TABLE public.a RENAME COLUMN b TO c"],
  ["a renamed table", "ALTER TABLE public.a RENAME TO a2"],
  ["a renamed schema", "ALTER SCHEMA s RENAME TO s2"],
  ["a new table", "CREATE TABLE public.n (a int)"],
  ["a dropped table", "DROP TABLE public.z"],
  ["a new foreign key", "ALTER TABLE public.b ADD FOREIGN KEY (a_id) REFERENCES public.a"],
  ["DROP CONSTRAINT", "ALTER TABLE public.b DROP CONSTRAINT b_a_id_check"],
  ["a new unique index", "CREATE UNIQUE INDEX ON public.b (a_id)"],
  ["row-level security", "ALTER TABLE public.a ENABLE ROW LEVEL SECURITY"],
  ["a new policy", "CREATE POLICY p ON public.a USING (true)"],
  ["a new trigger", "CREATE TRIGGER t BEFORE INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.f()"],
  ["a disabled trigger", "ALTER TABLE public.b DISABLE TRIGGER bt"],
  ["an attached partition", "ALTER TABLE public.p ATTACH PARTITION public.p1 FOR VALUES FROM (0) TO (10)"],
  ["inheritance", "ALTER TABLE public.b INHERIT public.bp"],
  ["a new value of an enum", "ALTER TYPE public.mood ADD VALUE 'c'"],
  ["a domain's constraint", "ALTER DOMAIN public.d ADD CHECK (VALUE <> 'x')"],
  ["a changed composite type", "ALTER TYPE public.comp ADD ATTRIBUTE y int"],
  ["a grant", "GRANT SELECT ON public.a TO PUBLIC"],
  ["SET UNLOGGED", "ALTER TABLE public.z SET UNLOGGED"],
  ["a sequence's owner", "ALTER SEQUENCE public.q OWNED BY public.b.a_id"],
];

describe("readStamp", () => {
  it("changes with the schema, and with nothing else", async () => {
    const database = await testDatabase("stamp");
    await database.pool.query(`CREATE SCHEMA s; CREATE TYPE public.mood AS ENUM ('a'); CREATE DOMAIN public.d AS text; CREATE TYPE public.comp AS (x int);
      CREATE TABLE public.a (id int PRIMARY KEY, b text, v varchar(20)); CREATE TABLE public.bp (a_id int);
      CREATE TABLE public.b (a_id int CHECK (a_id > 0)); CREATE TABLE public.z (a int); CREATE SEQUENCE public.q;
      CREATE TABLE public.p (n int) PARTITION BY RANGE (n); CREATE TABLE public.p1 (n int);
      CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
      CREATE TRIGGER bt BEFORE INSERT ON public.b FOR EACH ROW EXECUTE FUNCTION public.f()`);
    await withSourceClient(database.url, async (client) => {
      const still = await readStamp(client);
      await database.pool.query(`INSERT INTO public.a SELECT n, 'x' FROM generate_series(1, 5000) n; UPDATE public.a SET b = 'y';
        DELETE FROM public.a WHERE id % 2 = 0; SELECT nextval('public.q')`);
      await database.pool.query("ANALYZE");
      await database.pool.query("VACUUM public.a");
      await database.pool.query("VACUUM FREEZE");
      const session = await database.pool.connect();
      await session.query("CREATE TEMP TABLE mine (a int PRIMARY KEY)");
      expect(await readStamp(client)).toBe(still);
      session.release(true);
      for (const [what, statement] of CHANGES) {
        const before = await readStamp(client);
        await client.query("BEGIN");
        await client.query(statement);
        const after = await readStamp(client);
        await client.query("ROLLBACK");
        expect(after, what).not.toBe(before);
        expect(await readStamp(client), `${what}, rolled back`).toBe(before);
      }
    });
  });

  it("is that of the snapshot it is read in", async () => {
    const database = await testDatabase("seen");
    await database.pool.query("CREATE TABLE public.a (id int)");
    await withSourceClient(database.url, async (client) => {
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
      const cache = new CatalogCache();
      const before = await readCatalog(client, cache);
      await database.pool.query("ALTER TABLE public.a ADD COLUMN b int");
      expect(await readCatalog(client, cache)).toBe(before);
      await client.query("COMMIT");
      const after = await readCatalog(client, cache);
      expect(after.tables[0]?.columns).toHaveLength(2);
    });
  });
});

function ms(duration: number): string {
  return `${Math.round(duration)} ms`;
}
