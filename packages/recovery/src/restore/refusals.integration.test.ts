import { describe, expect, it, vi } from "vitest";
import { openBackup } from "../archive/backup-reader.ts";
import { encodeManifest } from "../archive/manifest-text.ts";
import { backupPrefix, manifestKey } from "../archive/object-keys.ts";
import { keysOf } from "../backup/testing/context.ts";
import { ACCIDENT, SHOP } from "./testing/shop.ts";
import { anotherUser, restoreWorld, TENANT_ID, type World } from "./testing/world.ts";

/** Resolves when a statement of Rowback waits for a lock. */
function untilRowbackWaits(world: World): Promise<void> {
  return vi.waitFor(
    async () => {
      const { rows } = await world.db.pool.query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'rowback' AND wait_event_type = 'Lock'",
      );
      expect(rows).toHaveLength(1);
    },
    { timeout: 20_000, interval: 20 },
  );
}

describe("a stale plan", () => {
  it("is refused when a row was written after the preview, and nothing changes", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const plan = await world.preview("1", backup);
    await world.sql("UPDATE shop.lines SET article = 'newer' WHERE order_id = 4 AND n = 1");
    const live = await world.rows();
    await expect(world.apply("1", backup, { expect: { planDigest: plan.digest } })).rejects.toMatchObject({
      code: "plan_stale",
    });
    expect(await world.rows()).toEqual(live);
  });

  it("is refused when the schema of a changed table moved, and not for another tenant's rows", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const plan = await world.preview("1", backup);
    await world.sql(
      "ALTER TABLE shop.lines ADD CHECK (n < 100)",
      "ALTER TABLE shop.customers ALTER name SET DEFAULT 'x'",
    );
    await expect(world.apply("1", backup, { expect: { planDigest: plan.digest } })).rejects.toMatchObject({
      code: "plan_stale",
    });
    await world.sql(
      "ALTER TABLE shop.customers ALTER name DROP DEFAULT",
      "UPDATE shop.lines SET article = 'theirs' WHERE order_id = 1",
    );
    await world.apply("1", backup, { expect: { planDigest: plan.digest } });
  });

  it("is noticed when the tenant writes between the comparison and the commit: a row of the plan", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const other = await anotherUser(world);
    await other.query("BEGIN");
    await other.query("UPDATE shop.customers SET name = 'meanwhile' WHERE id = 4");
    const applying = world.apply("1", backup);
    const refused = expect(applying).rejects.toMatchObject({ code: "plan_stale" });
    await untilRowbackWaits(world);
    await other.query("COMMIT");
    const live = await world.rows();
    await refused;
    expect(await world.rows()).toEqual(live);
    expect(live["shop.customers"]?.join()).toContain("meanwhile");
  });

  it("is noticed when the tenant writes between the comparison and the commit: a row beside the plan", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const other = await anotherUser(world);
    await other.query("BEGIN");
    // Holds the restore up at a row it must lock, without changing that row.
    await other.query("SELECT FROM shop.customers WHERE id = 4 FOR UPDATE");
    const applying = world.apply("1", backup);
    const refused = expect(applying).rejects.toMatchObject({
      code: "plan_stale",
      context: { table: "shop.customers" },
    });
    await untilRowbackWaits(world);
    await other.query("INSERT INTO shop.customers (tenant_id, email) VALUES (1, 'meanwhile@x')");
    await other.query("COMMIT");
    const live = await world.rows();
    await refused;
    expect(await world.rows()).toEqual(live);
  });

  it("is noticed when a row that is not restored begins to refer to one that the plan deletes", async () => {
    const world = await restoreWorld({
      sql: `${SHOP} CREATE TABLE shop.badges (tenant_id int NOT NULL REFERENCES shop.tenants, customer_id int REFERENCES shop.customers);`,
    });
    const backup = await world.backup("1");
    await world.sql("INSERT INTO shop.customers (tenant_id, email) VALUES (1, 'new@x')");
    const other = await anotherUser(world);
    await other.query("BEGIN");
    // Not to be seen when the restore compares; its lock on the customer holds the restore up.
    await other.query("INSERT INTO shop.badges SELECT 1, id FROM shop.customers WHERE email = 'new@x'");
    const applying = world.apply("1", backup, { tables: ["shop.customers"] });
    const refused = expect(applying).rejects.toMatchObject({
      code: "plan_conflict",
      context: { table: "shop.badges" },
    });
    await untilRowbackWaits(world);
    await other.query("COMMIT");
    const live = await world.rows();
    await refused;
    expect(await world.rows()).toEqual(live);
  });

  it("of an undo is refused when the tenant worked on", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const before = await world.backup("1");
    const { fingerprintsAfter, tables } = await world.apply("1", backup);
    await world.sql("INSERT INTO shop.log VALUES (1, 'worked on', NULL)");
    const live = await world.rows();
    const undo = { tables: tables.map(({ table }) => table), expect: { fingerprints: fingerprintsAfter } };
    await expect(world.apply("1", before, undo)).rejects.toMatchObject({
      code: "plan_stale",
      context: { table: "shop.log" },
    });
    expect(await world.rows()).toEqual(live);
  });
});

describe("two restores at once", () => {
  it("of one tenant: the second is refused; of two tenants: both go on", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const [one, two] = [await world.backup("1"), await world.backup("2")];
    const atBackup = await world.rows();
    await world.sql(...ACCIDENT, "UPDATE shop.customers SET name = 'changed' WHERE tenant_id = 2");
    const other = await anotherUser(world);
    await other.query("BEGIN");
    await other.query("SELECT FROM shop.customers WHERE id = 4 FOR UPDATE");
    const applying = world.apply("1", one);
    await untilRowbackWaits(world);
    await expect(world.apply("1", one)).rejects.toMatchObject({ code: "restore_in_progress" });
    await world.apply("2", two);
    await other.query("COMMIT");
    await applying;
    expect(await world.rows()).toEqual(atBackup);
  });
});

describe("a conflict", () => {
  it("with another tenant's unique value is shown without saying whose, and refused", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(
      "UPDATE shop.customers SET email = 'gone@x' WHERE id = 4",
      "UPDATE shop.customers SET email = 'c4@x' WHERE id = 5",
    );
    const live = await world.rows();
    const plan = await world.preview("1", backup);
    expect(plan.conflicts).toEqual([
      {
        kind: "unique",
        table: "shop.customers",
        constraint: "customers_email_key",
        rows: 1,
        message:
          "1 row of shop.customers would collide in customers_email_key with rows that this restore does not touch.",
      },
    ]);
    await expect(world.apply("1", backup, { expect: { planDigest: plan.digest } })).rejects.toMatchObject({
      code: "plan_conflict",
    });
    expect(await world.rows()).toEqual(live);
  });

  it("with a row that moved to another tenant is a conflict of the primary key", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql("UPDATE shop.customers SET tenant_id = 2 WHERE id = 4");
    const plan = await world.preview("1", backup);
    expect(plan.conflicts.map((conflict) => [conflict.kind, conflict.constraint, conflict.rows])).toEqual([
      ["unique", "customers_email_key", 1],
      ["unique", "customers_pkey", 1],
    ]);
  });

  it.each(["suppress", "fire"] as const)(
    "with foreign keys to and from rows outside the plan (%s)",
    async (triggers) => {
      const world = await restoreWorld({ sql: SHOP });
      const backup = await world.backup("1");
      await world.sql(
        "INSERT INTO shop.currencies VALUES ('XXX')",
        "INSERT INTO shop.customers (tenant_id, email) VALUES (1, 'new@x')",
        "CREATE TABLE shop.shared (customer_id int REFERENCES shop.customers)",
        "INSERT INTO shop.shared SELECT id FROM shop.customers WHERE email = 'new@x'",
        "UPDATE shop.orders SET currency = 'USD' WHERE tenant_id = 1",
        "UPDATE shop.orders SET currency = 'USD' WHERE tenant_id = 2",
        "DELETE FROM shop.currencies WHERE code = 'EUR'",
        "DELETE FROM shop.lines WHERE order_id = 4",
        "DELETE FROM shop.orders WHERE id = 4",
      );
      const live = await world.rows();
      const rules = (constraint: string, rows: number) => ["foreign_key", constraint, rows];
      const of = async (tables: readonly string[] | null) =>
        (await world.preview("1", backup, { triggers, tables: tables === null ? null : [...tables] })).conflicts.map(
          (c) => [c.kind, c.constraint, c.rows],
        );
      expect(await of(["shop.customers"])).toEqual([rules("shared_customer_id_fkey", 1)]);
      expect(await of(["shop.orders"])).toEqual([rules("orders_currency_fkey", 20)]);
      expect(await of(["shop.lines"])).toEqual([rules("lines_order_id_fkey", 3)]);
      await expect(world.apply("1", backup, { triggers })).rejects.toMatchObject({ code: "plan_conflict" });
      expect(await world.rows()).toEqual(live);
    },
  );

  it("with expression, partial, exclusion and NULLS NOT DISTINCT rules is found before anything is tried", async () => {
    const world = await restoreWorld({
      sql: `CREATE SCHEMA s; CREATE EXTENSION btree_gist;
        CREATE TABLE s.tenants (id int PRIMARY KEY); INSERT INTO s.tenants VALUES (1), (2);
        CREATE TABLE s.t (tenant_id int NOT NULL REFERENCES s.tenants, id int PRIMARY KEY, a text, low text GENERATED ALWAYS AS (lower(a)) STORED,
          active boolean, span int4range, n int, UNIQUE NULLS NOT DISTINCT (n), EXCLUDE USING gist (span WITH &&) WHERE (active));
        CREATE UNIQUE INDEX t_upper ON s.t (upper(a)) WHERE active;
        CREATE UNIQUE INDEX t_low ON s.t (low);
        INSERT INTO s.t (tenant_id, id, a, active, span, n) VALUES (1, 1, 'a', true, '[1,5)', NULL), (1, 2, 'b', true, '[5,9)', 2)`,
    });
    const backup = await world.backup("1");
    await world.sql(
      "DELETE FROM s.t WHERE id = 1",
      "INSERT INTO s.t (tenant_id, id, a, active, span, n) VALUES (2, 10, 'A', true, '[2,3)', NULL), (2, 11, 'C', false, '[1,9)', 11)",
    );
    const plan = await world.preview("1", backup);
    expect(plan.conflicts.map((c) => [c.kind, c.constraint, c.rows])).toEqual([
      ["unique", "t_low", 1],
      ["unique", "t_n_key", 1],
      ["exclusion", "t_span_excl", 1],
      ["unique", "t_upper", 1],
    ]);
  });
});

describe("a damaged archive", () => {
  it.each(["truncated", "flipped", "missing"] as const)("with a %s part applies nothing", async (how) => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const live = await world.rows();
    const parts = `${backupPrefix({ tenantId: TENANT_ID, backupId: backup })}part-0-`;
    const key = (await keysOf(world.store)).find((each) => each.startsWith(parts)) ?? "";
    const bytes = Buffer.concat(await (await world.store.get(key)).toArray());
    if (how === "missing") await world.store.delete([key]);
    if (how === "truncated") await world.store.put(key, bytes.subarray(0, -20));
    if (how === "flipped") {
      const at = bytes.length >> 1;
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      await world.store.put(key, bytes);
    }
    await expect(world.preview("1", backup)).rejects.toMatchObject({ code: "archive_damaged" });
    await expect(world.apply("1", backup)).rejects.toMatchObject({ code: "archive_damaged" });
    expect(await world.rows()).toEqual(live);
  });
});

describe("a manifest", () => {
  it("of another version applies nothing", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const live = await world.rows();
    const key = manifestKey({ tenantId: TENANT_ID, backupId: backup });
    const text = Buffer.concat(await (await world.store.get(key)).toArray()).toString();
    await world.store.put(key, Buffer.from(text.replace('"version": 1', '"version": 2')));
    await expect(world.preview("1", backup)).rejects.toMatchObject({ code: "manifest_unsupported" });
    await expect(world.apply("1", backup)).rejects.toMatchObject({ code: "manifest_unsupported" });
    expect(await world.rows()).toEqual(live);
  });

  it("that is valid but not the one that the run wrote applies nothing", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const live = await world.rows();
    const id = { tenantId: TENANT_ID, backupId: backup };
    const { manifest, manifestSha256 } = await openBackup(world.store, id);
    const other = encodeManifest({ ...manifest, createdAt: "2020-01-01T00:00:00.000Z" });
    await world.store.put(manifestKey(id), other);
    await expect(world.preview("1", backup, { manifestSha256 })).rejects.toMatchObject({ code: "archive_damaged" });
    await expect(world.apply("1", backup, { manifestSha256 })).rejects.toMatchObject({ code: "archive_damaged" });
    expect(await world.rows()).toEqual(live);
  });
});

describe("a schema that drifted", () => {
  it("safely: columns added and widened keep their values, and an undo brings everything back", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(
      ...ACCIDENT,
      "ALTER TABLE shop.customers ADD COLUMN extra text DEFAULT 'fresh', ADD COLUMN more int",
      "UPDATE shop.customers SET extra = 'kept', more = 7 WHERE id < 20",
      "ALTER TABLE shop.lines ALTER n TYPE bigint",
    );
    const live = await world.rows();
    const plan = await world.preview("1", backup);
    expect(plan.drift.map((one) => [one.kind, one.column, one.blocking])).toEqual([
      ["column_added", "extra", false],
      ["column_added", "more", false],
      ["column_retyped", "n", false],
    ]);
    const before = await world.backup("1");
    const outcome = await world.apply("1", backup, { expect: { planDigest: plan.digest } });
    const customers = await world.db.pool.query(
      "SELECT extra, more, count(*)::int FROM shop.customers WHERE tenant_id = 1 GROUP BY 1, 2 ORDER BY 1",
    );
    expect(customers.rows).toEqual([
      { extra: "fresh", more: null, count: 11 },
      { extra: "kept", more: 7, count: 9 },
    ]);
    const undo = {
      tables: outcome.tables.map(({ table }) => table),
      expect: { fingerprints: outcome.fingerprintsAfter },
    };
    await world.apply("1", before, undo);
    expect(await world.rows()).toEqual(live);
  });

  it.each([
    ["a dropped column", "ALTER TABLE shop.lines DROP COLUMN article", "column_dropped"],
    [
      "another type",
      "ALTER TABLE shop.lines ALTER article TYPE bytea USING convert_to(article, 'UTF8')",
      "column_retyped",
    ],
    ["a dropped table", "DROP TABLE shop.lines", "table_missing"],
  ])("%s is named and refused", async (_what, ddl, kind) => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT, ddl);
    const live = await world.rows();
    const plan = await world.preview("1", backup);
    expect(plan.drift).toEqual([expect.objectContaining({ table: "shop.lines", kind, blocking: true })]);
    await expect(world.apply("1", backup)).rejects.toMatchObject({ code: "schema_drift" });
    expect(await world.rows()).toEqual(live);
  });

  it("a column added without default stops only restores that insert", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(
      "UPDATE shop.customers SET name = 'changed' WHERE id = 4",
      "ALTER TABLE shop.customers ADD COLUMN must int",
      "UPDATE shop.customers SET must = 1",
      "ALTER TABLE shop.customers ALTER must SET NOT NULL",
    );
    expect((await world.preview("1", backup)).drift.some((one) => one.blocking)).toBe(false);
    await world.apply("1", backup);
    await world.sql(
      "UPDATE shop.customers SET referred_by = NULL",
      "DELETE FROM shop.lines",
      "DELETE FROM shop.orders",
      "DELETE FROM shop.customers WHERE id = 4",
    );
    expect((await world.preview("1", backup)).drift).toContainEqual(
      expect.objectContaining({ column: "must", blocking: true }),
    );
    await expect(world.apply("1", backup)).rejects.toMatchObject({ code: "schema_drift" });
  });
});

describe("a request", () => {
  it("of another tenant's key, an unknown table or an unknown backup is refused", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await expect(world.preview("2", backup)).rejects.toMatchObject({ code: "invalid_request" });
    await expect(
      world.preview("1", backup, { tables: ["shop.tenants; DROP TABLE shop.tenants"] }),
    ).rejects.toMatchObject({ code: "unknown_table" });
    await expect(world.preview("1", "22222222-2222-4222-8222-222222222222")).rejects.toMatchObject({
      code: "archive_damaged",
    });
  });

  it("that is cancelled ends at once and changes nothing", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const live = await world.rows();
    const other = await anotherUser(world);
    await other.query("BEGIN");
    await other.query("SELECT FROM shop.customers WHERE id = 4 FOR UPDATE");
    const abort = new AbortController();
    const applying = world.apply("1", backup, {}, abort.signal);
    const refused = expect(applying).rejects.toMatchObject({ code: "cancelled" });
    await untilRowbackWaits(world);
    abort.abort();
    await refused;
    await other.query("COMMIT");
    expect(await world.rows()).toEqual(live);
  });
});
