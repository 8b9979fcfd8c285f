import { describe, expect, it } from "vitest";
import { HARD_TENANTS, hardTypesSql } from "../postgres/testing/fixtures.ts";
import { changedTables } from "./plan.ts";
import { ACCIDENT, SHOP } from "./testing/shop.ts";
import { countsOf, restoreWorld } from "./testing/world.ts";

describe("an exact restore", () => {
  it("brings many rows back at once: what it checks grows with their number, not with its square", async () => {
    const world = await restoreWorld({
      sql: `CREATE TABLE tenants (id int PRIMARY KEY);
        CREATE TABLE notes (id int PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, slug text UNIQUE, text text NOT NULL);
        CREATE TABLE tags (note_id int REFERENCES notes, tag text, PRIMARY KEY (note_id, tag));
        INSERT INTO tenants VALUES (1);
        INSERT INTO notes SELECT n, 1, 'note ' || n, repeat('x', n % 50) FROM generate_series(1, 15000) AS n;
        INSERT INTO tags SELECT n, 'tag' FROM generate_series(1, 15000) AS n;`,
    });
    const atBackup = await world.rows();
    const backup = await world.backup("1");
    await world.sql("DELETE FROM tags", "DELETE FROM notes");
    await world.apply("1", backup);
    expect(await world.rows()).toEqual(atBackup);
  });

  it("brings the tenant back byte for byte, touches nobody else, and is undone just so", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const atBackup = await world.rows();
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const afterAccident = await world.rows();
    expect(afterAccident).not.toEqual(atBackup);

    const plan = await world.preview("1", backup);
    expect(plan).toMatchObject({ conflicts: [], drift: [], warnings: [], triggersMode: "suppress" });
    expect(await world.rows()).toEqual(afterAccident);
    expect(countsOf(plan)).toEqual({
      "shop.tenants": [0, 0, 0, 1],
      "shop.customers": [5, 15, 1, 0],
      "shop.orders": [10, 0, 0, 10],
      "shop.lines": [30, 1, 0, 29],
      "shop.log": [6, 0, 1, 23],
    });

    const before = await world.backup("1", changedTables(plan));
    const outcome = await world.apply("1", backup, { expect: { planDigest: plan.digest } });
    expect(await world.rows()).toEqual(atBackup);
    expect(changedTables(await world.preview("1", backup))).toEqual([]);

    const tables = outcome.tables.map((table) => table.table);
    await world.apply("1", before, { tables, expect: { fingerprints: outcome.fingerprintsAfter } });
    expect(await world.rows()).toEqual(afterAccident);
  });

  it("brings every type, name and shape of table back, and takes it away again", async () => {
    const world = await restoreWorld({ sql: await hardTypesSql() });
    const [acme, bytes] = [HARD_TENANTS.a, HARD_TENANTS.b];
    const atBackup = await world.rows();
    const backups = { a: await world.backup(acme), b: await world.backup(bytes) };
    await world.sql(
      // Every column of every row gets the value of another row of the same tenant, or NULL: each type is changed.
      `DO $$ DECLARE col text; BEGIN
         FOR col IN SELECT attname FROM pg_attribute WHERE attrelid = 'hard.types'::regclass AND attnum > 0 AND NOT attisdropped
             AND attgenerated = '' AND attname NOT IN ('id', 'tenant_id', 'c_defaulted', 'c_code', 'c_serial') LOOP
           EXECUTE format('UPDATE hard.types t SET %1$I = (SELECT o.%1$I FROM hard.types o WHERE o.tenant_id = t.tenant_id AND o.id <> t.id ORDER BY o.id DESC LIMIT 1)', col);
         END LOOP; END $$`,
      "DELETE FROM hard.types WHERE c_serial IN (2, 3)",
      `UPDATE hard."Mixed Case.Näme" SET "sel""ect" = E'\\\\N', "emoji 🦆" = NULL, "$1" = ''`,
      "DELETE FROM hard.no_key WHERE n = 1",
      "INSERT INTO hard.no_key SELECT id, NULL, NULL FROM hard.tenants, generate_series(1, 3) WHERE name <> 'Empty'",
      "UPDATE hard.events SET at = at + interval '300 days' WHERE id % 2 = 0",
      "DELETE FROM hard.events WHERE id % 5 = 1",
      "DELETE FROM hard.note_tags",
      "DELETE FROM hard.notes WHERE seq = 2",
      "UPDATE hard.cycle_a SET b_id = NULL",
      "DELETE FROM hard.cycle_b",
      "UPDATE hard.nodes SET parent_id = NULL WHERE parent_id IS NOT NULL",
      "DELETE FROM hard.notes WHERE node_id % 100 > 5",
      "DELETE FROM hard.nodes WHERE id % 100 > 5",
      "UPDATE hard.tenants SET created_at = 'infinity', name = lower(name::text)",
    );
    const afterAccident = await world.rows();

    const plan = await world.preview(acme, backups.a);
    expect(plan.conflicts).toEqual([]);
    const pre = { a: await world.backup(acme), b: await world.backup(bytes) };
    const applied = await world.apply(acme, backups.a, { expect: { planDigest: plan.digest } });
    const others = (rows: Record<string, string[]>): string[] =>
      Object.values(rows)
        .flat()
        .filter((row) => row.includes(bytes))
        .sort();
    expect(others(await world.rows())).toEqual(others(afterAccident));
    await world.apply(bytes, backups.b);
    const back = await world.rows();
    expect(others(back)).toEqual(others(atBackup));
    expect(
      Object.entries(back)
        .filter(([name, rows]) => String(rows) !== String(atBackup[name]))
        .map(([name]) => name),
    ).toEqual([
      // The tenant that was not restored.
      "hard.tenants",
    ]);
    await world.apply(acme, pre.a, { expect: { fingerprints: applied.fingerprintsAfter } });
    await world.apply(bytes, pre.b);
    expect(await world.rows()).toEqual(afterAccident);
  });

  it("brings back a tenant of which nothing is left, and into another database that never had it", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const atBackup = await world.rows();
    const backup = await world.backup("1");
    const gone = [
      "DELETE FROM shop.log WHERE tenant_id = 1",
      "DELETE FROM shop.lines USING shop.orders WHERE order_id = id AND tenant_id = 1",
      "DELETE FROM shop.orders WHERE tenant_id = 1",
      "UPDATE shop.customers SET referred_by = NULL WHERE tenant_id = 1",
      "DELETE FROM shop.customers WHERE tenant_id = 1",
      "DELETE FROM shop.tenants WHERE id = 1",
    ];
    await world.sql(...gone);
    await world.apply("1", backup);
    expect(await world.rows()).toEqual(atBackup);

    const target = await restoreWorld({ sql: SHOP }, world.store);
    await target.sql(
      ...gone,
      "ALTER SEQUENCE shop.orders_id_seq RESTART",
      "ALTER TABLE shop.customers ALTER id RESTART",
    );
    await target.apply("1", backup);
    expect(await target.rows()).toEqual(atBackup);
    const next = await target.db.pool.query(
      "SELECT nextval('shop.orders_id_seq')::int AS orders, nextval('shop.customers_id_seq')::int AS customers",
    );
    expect(next.rows).toEqual([{ orders: 41, customers: 41 }]);
  });

  it("restores a tenant that is a schema", async () => {
    const make = (name: string): string =>
      `CREATE SCHEMA ${name}; CREATE TABLE ${name}.a (id int PRIMARY KEY, t text); CREATE TABLE ${name}.b (a_id int REFERENCES ${name}.a, v int);
       INSERT INTO ${name}.a SELECT n, 'row' FROM generate_series(1, 5) n; INSERT INTO ${name}.b SELECT n, n FROM generate_series(1, 5) n;`;
    const world = await restoreWorld({
      sql: make("tenant_x") + make("tenant_y"),
      tenancy: { mode: "schema", pattern: "tenant_{key}" },
    });
    const atBackup = await world.rows();
    const backup = await world.backup("x");
    await world.sql("DELETE FROM tenant_x.b WHERE v > 2", "UPDATE tenant_x.a SET t = 'changed' WHERE id = 1");
    const plan = await world.preview("x", backup);
    expect(plan.drift).toEqual([]);
    await world.apply("x", backup, { expect: { planDigest: plan.digest } });
    expect(await world.rows()).toEqual(atBackup);
  });
});

describe("part of a restore", () => {
  it("brings back only what is missing", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const atBackup = await world.rows();
    const backup = await world.backup("1");
    await world.sql(
      "DELETE FROM shop.lines WHERE order_id = 22",
      "DELETE FROM shop.orders WHERE id = 22",
      "UPDATE shop.customers SET name = 'newer' WHERE id = 2",
      "INSERT INTO shop.customers (tenant_id, email) VALUES (1, 'new@x')",
    );
    const plan = await world.preview("1", backup, { mode: "missing_only" });
    expect(countsOf(plan)).toMatchObject({
      "shop.customers": [0, 0, 0, 21],
      "shop.orders": [1, 0, 0, 19],
      "shop.lines": [3, 0, 0, 57],
    });
    await world.apply("1", backup, { mode: "missing_only", expect: { planDigest: plan.digest } });
    const rows = await world.rows();
    expect({ ...rows, "shop.customers": [] }).toEqual({ ...atBackup, "shop.customers": [] });
    expect(rows["shop.customers"]).toHaveLength(41);
    expect(rows["shop.customers"]?.join()).toContain("newer");
  });

  it("restores chosen tables, named with or without their schema, and chosen keys", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(
      "UPDATE shop.lines SET article = 'changed'",
      "UPDATE shop.customers SET name = 'changed' WHERE tenant_id = 1",
      "DELETE FROM shop.lines WHERE order_id = 2 AND n = 2",
    );
    expect(countsOf(await world.preview("1", backup, { tables: ["customers"] }))).toEqual({
      "shop.customers": [0, 20, 0, 0],
    });
    const keys = [
      {
        table: "shop.lines",
        keys: [
          ["2", "1"],
          ["2", "2"],
          ["2", "4"],
          ["1", "1"],
        ],
      },
    ];
    const plan = await world.preview("1", backup, { keys });
    // Order 1 is the other tenant's: as if it did not exist.
    expect(countsOf(plan)).toEqual({ "shop.lines": [1, 1, 0, 58] });
    await world.apply("1", backup, { keys, expect: { planDigest: plan.digest } });
    const lines = await world.db.pool.query(
      "SELECT order_id, n FROM shop.lines WHERE article <> 'changed' ORDER BY 1, 2",
    );
    expect(lines.rows).toEqual([
      { order_id: 2, n: 1 },
      { order_id: 2, n: 2 },
    ]);
    await expect(world.preview("1", backup, { keys: [{ table: "lines", keys: [["x", "1"]] }] })).rejects.toMatchObject({
      code: "invalid_request",
    });
  });

  it("finds keys by the type's own equality", async () => {
    const world = await restoreWorld({
      sql: `CREATE EXTENSION citext; CREATE SCHEMA s; CREATE TABLE s.t (tenant_id int, k public.citext, n numeric, v text, PRIMARY KEY (k, n));
            INSERT INTO s.t VALUES (1, 'Abc', 1.00, 'was'), (1, 'def', 2, 'was')`,
      rules: [{ table: { schema: "s", name: "t" }, scope: { kind: "direct", column: "tenant_id" } }],
    });
    const atBackup = await world.rows();
    const backup = await world.backup("1");
    await world.sql("UPDATE s.t SET v = 'is', k = 'ABC', n = 1.0 WHERE k = 'abc'");
    const plan = await world.preview("1", backup, { keys: [{ table: "s.t", keys: [["aBC", "1"]] }] });
    expect(countsOf(plan)).toEqual({ "s.t": [0, 1, 0, 1] });
    expect(plan.tables[0]?.samples[0]).toMatchObject({
      op: "update",
      key: { k: "ABC", n: "1.0" },
      changed: ["k", "n", "v"],
    });
    await world.apply("1", backup);
    expect(await world.rows()).toEqual(atBackup);
  });
});

describe("a plan", () => {
  it("has the same digest for the same data, also in another database, and another one when a row moves", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const plan = await world.preview("1", backup);
    const twin = await restoreWorld({ sql: SHOP }, world.store);
    await twin.sql("CREATE TABLE shop.shifts_oids ()", "DROP TABLE shop.shifts_oids", ...ACCIDENT);
    expect((await twin.preview("1", backup)).digest).toBe(plan.digest);
    expect((await world.preview("1", backup)).digest).toBe(plan.digest);
    await world.sql("UPDATE shop.log SET message = 'else' WHERE message IS NULL");
    expect((await world.preview("1", backup)).digest).not.toBe(plan.digest);
  });

  it("shows up to twenty rows of each kind, cut where they are long", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(
      ...ACCIDENT,
      "UPDATE shop.log SET message = repeat('🦆', 100000) WHERE message IS NULL AND tenant_id = 1",
    );
    const plan = await world.preview("1", backup);
    const lines = plan.tables.find((table) => table.table === "shop.lines")?.samples ?? [];
    expect(lines.filter((sample) => sample.op === "insert")).toHaveLength(20);
    expect(lines.filter((sample) => sample.op === "update")).toHaveLength(1);
    const customers = plan.tables.find((table) => table.table === "shop.customers")?.samples ?? [];
    expect(customers.find((sample) => sample.op === "update")).toEqual({
      op: "update",
      key: { id: "2" },
      before: { id: "2", tenant_id: "1", email: "changed2", name: null, referred_by: null },
      after: { id: "2", tenant_id: "1", email: "c2@x", name: "Name 2", referred_by: null },
      changed: ["email", "name"],
    });
    const log = plan.tables.find((table) => table.table === "shop.log")?.samples ?? [];
    expect(log.find((sample) => sample.op === "delete")).toMatchObject({
      key: null,
      after: null,
      before: { message: `${"🦆".repeat(120)}…` },
    });
  });

  it("finds what differs in a big table without loading the rest", async () => {
    const world = await restoreWorld({
      sql: `CREATE SCHEMA big; CREATE TABLE big.tenants (id int PRIMARY KEY);
            CREATE TABLE big.rows (tenant_id int REFERENCES big.tenants NOT NULL, id int, note text, PRIMARY KEY (id));
            CREATE TABLE big.heap (tenant_id int REFERENCES big.tenants NOT NULL, note text);
            INSERT INTO big.tenants VALUES (1), (2);
            INSERT INTO big.rows SELECT 1 + n % 2, n, repeat(md5(n::text), 4) FROM generate_series(1, 80000) n;
            INSERT INTO big.heap SELECT 1 + n % 2, repeat(md5((n / 4)::text), 4) FROM generate_series(1, 80000) n`,
    });
    const atBackup = await world.rows();
    const backup = await world.backup("1");
    await world.sql(
      "UPDATE big.rows SET note = 'changed' WHERE id % 1000 = 0",
      "DELETE FROM big.rows WHERE id % 2000 = 2",
      "INSERT INTO big.rows VALUES (1, -1, ''), (2, -2, '')",
      "DELETE FROM big.heap WHERE ctid IN (SELECT ctid FROM big.heap WHERE tenant_id = 1 LIMIT 5)",
      "INSERT INTO big.heap SELECT tenant_id, note FROM big.heap WHERE tenant_id = 1 LIMIT 3",
    );
    const other = (await world.rows())["big.rows"]?.filter((row) => row.startsWith("(2"));
    const plan = await world.preview("1", backup);
    expect(countsOf(plan)).toMatchObject({ "big.rows": [40, 80, 1, 39880], "big.heap": [5, 0, 3, 39995] });
    await world.apply("1", backup, { expect: { planDigest: plan.digest } });
    const rows = await world.rows();
    expect(rows["big.rows"]?.filter((row) => row.startsWith("(1"))).toEqual(
      atBackup["big.rows"]?.filter((row) => row.startsWith("(1")),
    );
    expect(rows["big.rows"]?.filter((row) => row.startsWith("(2"))).toEqual(other);
    expect(rows["big.heap"]).toEqual(atBackup["big.heap"]);
  });
});
