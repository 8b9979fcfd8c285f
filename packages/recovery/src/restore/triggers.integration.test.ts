import { testRole } from "@rowback/local-services/testing";
import { describe, expect, it } from "vitest";
import { ACCIDENT, SHOP } from "./testing/shop.ts";
import { countsOf, restoreWorld, type World } from "./testing/world.ts";

/** A trigger function in schema shop, and a trigger that calls it. */
function trigger(name: string, when: string, table: string, body: string): string {
  return `CREATE FUNCTION shop.${name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${body} END $$;
          CREATE TRIGGER ${name} ${when} ON ${table} FOR EACH ROW EXECUTE FUNCTION shop.${name}();`;
}

const AUDIT = trigger(
  "audit",
  "AFTER UPDATE",
  "shop.customers",
  "INSERT INTO shop.audit VALUES (NEW.id); RETURN NULL;",
);
const TOUCH = trigger("touch", "BEFORE UPDATE", "shop.customers", "NEW.name := 'touched'; RETURN NEW;");
const SKIP = trigger("skip", "BEFORE INSERT", "shop.log", "RETURN NULL;");
const QUIET = trigger("quiet", "AFTER INSERT OR UPDATE OR DELETE", "shop.orders", "PERFORM 1; RETURN NULL;");

async function accident(
  more: string,
): Promise<{ world: World; backup: string; live: Record<string, string[]>; was: Record<string, string[]> }> {
  const world = await restoreWorld({ sql: `${SHOP} CREATE TABLE shop.audit (customer_id int);` });
  const was = await world.rows();
  const backup = await world.backup("1");
  await world.sql(...ACCIDENT, more);
  return { world, backup, live: await world.rows(), was };
}

describe("triggers", () => {
  it("stay quiet unless asked for, whatever they would do", async () => {
    const { world, backup, was } = await accident(AUDIT + TOUCH + SKIP);
    const plan = await world.preview("1", backup);
    expect(plan.tables.flatMap((table) => table.triggers)).toEqual([]);
    await world.apply("1", backup, { expect: { planDigest: plan.digest } });
    expect(await world.rows()).toEqual(was);
  });

  it("fire when asked for, are listed, and foreign keys of every shape hold without help", async () => {
    const { world, backup, was } = await accident(QUIET);
    const plan = await world.preview("1", backup, { triggers: "fire" });
    expect(plan.triggersMode).toBe("fire");
    expect(plan.tables.find((table) => table.table === "shop.orders")?.triggers).toEqual([
      { name: "quiet", timing: "after insert or delete or update" },
    ]);
    await world.apply("1", backup, { triggers: "fire", expect: { planDigest: plan.digest } });
    expect(await world.rows()).toEqual(was);
  });

  it.each([
    ["alters a row that is written", TOUCH, "shop.customers", "touch"],
    ["writes another table", AUDIT, "shop.audit", "audit"],
    ["skips a row", SKIP, "shop.log", "but the database did so with"],
  ])("that %s undo everything", async (_what, sql, table, words) => {
    const { world, backup, live } = await accident(sql);
    const refused = await world.apply("1", backup, { triggers: "fire" }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "integrity_failed", context: { table } });
    expect(String(refused)).toContain(words);
    expect(await world.rows()).toEqual(live);
  });

  it("that are ENABLE ALWAYS fire in any case: they are listed, and what they alter is refused", async () => {
    const { world, backup, live } = await accident(`${AUDIT} ALTER TABLE shop.customers ENABLE ALWAYS TRIGGER audit`);
    const plan = await world.preview("1", backup);
    expect(plan.tables.find((table) => table.table === "shop.customers")?.triggers).toEqual([
      { name: "audit", timing: "after update" },
    ]);
    await expect(world.apply("1", backup)).rejects.toMatchObject({
      code: "integrity_failed",
      context: { table: "shop.audit" },
    });
    expect(await world.rows()).toEqual(live);
  });

  it("fire where the role may not suppress them, and the plan says so", async () => {
    const world = await restoreWorld({
      sql: SHOP,
      url: async (db) => {
        const role = await testRole(db);
        await db.pool.query(
          `GRANT USAGE ON SCHEMA shop TO ${role.name}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop TO ${role.name};
           GRANT SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA shop TO ${role.name}; REVOKE DELETE ON shop.log FROM ${role.name}`,
        );
        return role.url;
      },
    });
    const was = await world.rows();
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const plan = await world.preview("1", backup);
    expect(plan.triggersMode).toBe("fire");
    expect(plan.warnings).toEqual([
      expect.stringMatching(/Triggers will fire/),
      expect.stringMatching(/lacks DELETE on shop.log/),
    ]);
    await expect(world.apply("1", backup)).rejects.toMatchObject({ code: "source_privilege_missing" });
    const tables = ["shop.customers", "shop.orders", "shop.lines"];
    await world.apply("1", backup, { tables });
    const rows = await world.rows();
    for (const table of tables) expect(rows[table]).toEqual(was[table]);
  });
});

describe("rows that can't simply be updated", () => {
  const SQL = `CREATE SCHEMA s; CREATE TABLE s.tenants (id int PRIMARY KEY); INSERT INTO s.tenants VALUES (1), (2);
    CREATE TABLE s.t (id int PRIMARY KEY, tenant_id int NOT NULL REFERENCES s.tenants, nr int UNIQUE, always int GENERATED ALWAYS AS IDENTITY,
                      late int UNIQUE DEFERRABLE);
    CREATE TABLE s.child (t_id int PRIMARY KEY REFERENCES s.t ON DELETE CASCADE, tenant_id int NOT NULL REFERENCES s.tenants);
    INSERT INTO s.t (id, tenant_id, nr, late) SELECT n, 1 + n % 2, n, n FROM generate_series(1, 20) n;
    INSERT INTO s.child SELECT id, tenant_id FROM s.t`;

  it("exchange unique values, and identities that are always generated, without a trace", async () => {
    const world = await restoreWorld({ sql: SQL });
    const was = await world.rows();
    const backup = await world.backup("1");
    await world.sql(
      "UPDATE s.t SET nr = nr + 1000 WHERE tenant_id = 1",
      "UPDATE s.t SET nr = CASE WHEN id < 20 THEN nr - 998 ELSE 2 END, late = 22 - late WHERE tenant_id = 1",
      "ALTER TABLE s.t ALTER always RESTART WITH 100",
      "UPDATE s.t SET always = DEFAULT WHERE id = 4",
    );
    const live = await world.rows();
    const plan = await world.preview("1", backup);
    expect(plan.conflicts).toEqual([]);
    expect(countsOf(plan)).toEqual({ "s.tenants": [0, 0, 0, 1], "s.t": [0, 10, 0, 0], "s.child": [0, 0, 0, 10] });
    const before = await world.backup("1");
    const outcome = await world.apply("1", backup, { expect: { planDigest: plan.digest } });
    expect(await world.rows()).toEqual(was);
    await world.apply("1", before, { tables: ["s.t"], expect: { fingerprints: outcome.fingerprintsAfter } });
    expect(await world.rows()).toEqual(live);
    // With triggers firing, deleting a row to insert it again would take its children along.
    const firing = await world.preview("1", backup, { triggers: "fire" });
    expect(firing.conflicts.map((conflict) => [conflict.kind, conflict.constraint])).toEqual([
      ["unique", "always"],
      ["unique", "t_nr_key"],
    ]);
    await expect(world.apply("1", backup, { triggers: "fire" })).rejects.toMatchObject({ code: "plan_conflict" });
    expect(await world.rows()).toEqual(live);
  });

  it("collide in a deferrable rule, which nobody enforces while triggers are suppressed", async () => {
    const world = await restoreWorld({ sql: SQL });
    const backup = await world.backup("1");
    await world.sql("UPDATE s.t SET late = 100 WHERE id = 2", "UPDATE s.t SET late = 2 WHERE id = 1");
    expect((await world.preview("1", backup)).conflicts).toMatchObject([{ kind: "unique", constraint: "t_late_key" }]);
  });
});

describe("cycles of foreign keys", () => {
  it.each(["suppress", "fire"] as const)("need no deferrable constraint (%s)", async (triggers) => {
    const world = await restoreWorld({
      sql: `CREATE SCHEMA s; CREATE TABLE s.tenants (id int PRIMARY KEY); INSERT INTO s.tenants VALUES (1), (2);
        CREATE TABLE s.a (id int PRIMARY KEY, tenant_id int NOT NULL REFERENCES s.tenants, b_id int NOT NULL);
        CREATE TABLE s.b (id int PRIMARY KEY, tenant_id int NOT NULL REFERENCES s.tenants, a_id int NOT NULL REFERENCES s.a ON DELETE RESTRICT, self int NOT NULL REFERENCES s.b);
        INSERT INTO s.a SELECT n, 1 + n % 2, n FROM generate_series(1, 10) n;
        INSERT INTO s.b SELECT n, 1 + n % 2, n, n FROM generate_series(1, 10) n;
        ALTER TABLE s.a ADD FOREIGN KEY (b_id) REFERENCES s.b ON DELETE CASCADE`,
    });
    const was = await world.rows();
    const backup = await world.backup("1");
    await world.sql(
      "SET session_replication_role = replica; DELETE FROM s.a WHERE tenant_id = 1; DELETE FROM s.b WHERE tenant_id = 1; RESET session_replication_role",
      "WITH a AS (INSERT INTO s.a VALUES (50, 1, 50)), b AS (INSERT INTO s.b VALUES (50, 1, 50, 50)) SELECT",
    );
    const live = await world.rows();
    const before = await world.backup("1");
    const outcome = await world.apply("1", backup, { triggers });
    expect(await world.rows()).toEqual(was);
    await world.apply("1", before, { triggers, expect: { fingerprints: outcome.fingerprintsAfter } });
    expect(await world.rows()).toEqual(live);
  });
});
