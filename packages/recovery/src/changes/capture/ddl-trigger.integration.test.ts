import { testDatabase } from "@rowback/local-services/testing";
import { expect, onTestFinished, test } from "vitest";
import { CatalogCache } from "../../postgres/catalog.ts";
import { setUpCapture, tearDownCapture } from "./setup.ts";
import { CapturedWorld, type LoggedLine } from "./testing/captured-world.ts";

const SCHEMA = `
CREATE TABLE tenants (id text PRIMARY KEY);
INSERT INTO tenants VALUES ('a');
CREATE TABLE flex (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES tenants, a text, b int);
ALTER TABLE flex REPLICA IDENTITY FULL;
CREATE TABLE parted (id int, tenant_id text NOT NULL, a text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE unpublished (id int PRIMARY KEY)`;

/** A world whose event triggers are in force before anything happens. */
async function world(name: string): Promise<CapturedWorld> {
  const options = { schema: SCHEMA, tables: "tenants, flex, parted", ddlTrigger: true };
  const made = await CapturedWorld.make(await testDatabase(name), options);
  onTestFinished(() => made.end());
  made.start();
  await expect.poll(() => made.seen?.ddlTrigger?.inForce, { timeout: 15_000 }).toBe(true);
  return made;
}

function columns({ relation }: LoggedLine): string {
  return relation.columns
    .map(({ name, attnum, missing }) => `${name}:${attnum}${missing === null ? "" : `=${missing}`}`)
    .join(" ");
}

/** `op column:attnum …` of each line of a table, the unchanged first columns left out. */
async function story(shop: CapturedWorld, table = "flex"): Promise<string[]> {
  const lines = (await shop.lines()).filter((line) => line.table === table && line.op !== "O");
  return lines.map((line) => `${line.op} ${columns(line).replace("id:1 tenant_id:2 ", "")}`);
}

test("columns that come and go while nobody captures are told apart, each change at its place", async () => {
  const shop = await world("ddl told");
  await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
  await shop.caughtUp();
  await shop.stop();
  await shop.sql("ALTER TABLE flex DROP b; ALTER TABLE flex ADD b int; UPDATE flex SET a = 'y'");
  await shop.sql("ALTER TABLE flex DROP b, ADD c text DEFAULT 'given'");
  await shop.sql("INSERT INTO flex VALUES (2, 'a', 'z', 'own')");
  await shop.sql("ALTER TABLE flex DROP c; ALTER TABLE flex RENAME a TO c; ALTER TABLE flex ADD a text");
  shop.start();
  await shop.caughtUp();
  expect(await story(shop)).toEqual([
    "I a:3 b:4",
    "A a:3",
    "A a:3 b:5",
    "U a:3 b:5",
    "A a:3 c:6=given",
    "I a:3 c:6=given",
    "A a:3",
    "A c:3",
    "A c:3 a:7",
  ]);
  expect(shop.gaps).toEqual([]);
});

test("an alteration stands in its own transaction: the moment before it has the columns from before", async () => {
  const shop = await world("ddl place");
  await shop.sql("BEGIN; ALTER TABLE flex ADD c int; INSERT INTO flex VALUES (1, 'a', 'x', 1, 2); COMMIT");
  await shop.caughtUp();
  const [altered, inserted] = (await shop.lines()).filter(({ table }) => table === "flex");
  expect([altered?.op, inserted?.op, altered?.xid]).toEqual(["A", "I", inserted?.xid]);
  const [since = ""] = altered?.row.split("\t") ?? [];
  expect(BigInt(`0x${since}`)).toBe(BigInt(`0x${altered?.lsn}`) - 1n);
});

test("what is taken back is not told, and tables that are not published are nobody's matter", async () => {
  const shop = await world("ddl silent");
  await shop.sql("BEGIN; ALTER TABLE flex ADD c int; ROLLBACK");
  await shop.sql(
    "BEGIN; SAVEPOINT s; ALTER TABLE flex ADD c int; ROLLBACK TO s; INSERT INTO flex VALUES (1, 'a', 'x', 1); COMMIT",
  );
  await shop.sql(
    "ALTER TABLE unpublished ADD c int; CREATE TEMP TABLE passing (id int); ALTER TABLE passing ADD c int",
  );
  await shop.caughtUp();
  expect(await story(shop)).toEqual(["I a:3 b:4"]);
});

test("a column that goes with its type is told, and one of a partitioned table", async () => {
  const shop = await world("ddl cascade");
  await shop.sql(
    "CREATE TYPE mood AS ENUM ('fine'); ALTER TABLE flex ADD m mood; DROP TYPE mood CASCADE; ALTER TABLE flex ADD m text",
  );
  await shop.sql("ALTER TABLE parted ADD c text DEFAULT 'given'");
  await shop.caughtUp();
  await shop.sql(
    "CREATE TABLE shape (x int); ALTER TABLE flex ADD s shape; DROP TABLE shape CASCADE; DROP TABLE IF EXISTS shape",
  );
  await shop.caughtUp();
  const told = ["A a:3 b:4 m:5", "A a:3 b:4", "A a:3 b:4 m:6", "A a:3 b:4 m:6 s:7", "A a:3 b:4 m:6"];
  expect(await story(shop)).toEqual(told);
  expect(await story(shop, "parted")).toEqual(["A a:3 c:4=given"]);
});

test.each([
  ["a default that is no constant", "ALTER TABLE flex ADD r double precision DEFAULT random()"],
  ["another type", "ALTER TABLE flex ALTER a TYPE int USING length(a)"],
])(
  "%s gives rows values that no change tells: a gap from that transaction on, also when the column is gone again",
  async (_name, statement) => {
    const shop = await world("ddl rewrite");
    await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
    await shop.caughtUp();
    await shop.stop();
    await shop.sql(`BEGIN; INSERT INTO flex VALUES (2, 'a', 'x', 1); ${statement}; COMMIT`);
    await shop.sql("ALTER TABLE flex DROP IF EXISTS r");
    shop.start();
    await shop.caughtUp();
    const cause = (await shop.lines()).find(({ op, row }) => op === "I" && row.startsWith("2"));
    expect(shop.gaps).toContainEqual(
      expect.objectContaining({
        reason: "table_rewritten",
        table: { schema: "public", name: "flex" },
        causeXid: cause?.xid,
      }),
    );
  },
);

test("a table that was written anew with the values it had, and then altered, has no gap", async () => {
  const shop = await world("ddl vacuum");
  await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
  await shop.caughtUp();
  await shop.stop();
  await shop.sql("VACUUM FULL flex");
  await shop.sql("TRUNCATE flex; ALTER TABLE flex RENAME a TO a2; INSERT INTO flex VALUES (2, 'a', 'x', 1)");
  shop.start();
  await shop.caughtUp();
  expect(await story(shop)).toEqual(["I a:3 b:4", "X a:3 b:4", "A a2:3 b:4", "I a2:3 b:4"]);
  expect(shop.gaps).toEqual([]);
});

test("who captures next knows what was told to the one before, however long nobody looked", async () => {
  const shop = await world("ddl successor");
  await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
  await shop.caughtUp();
  await shop.stop();
  shop.start({ rememberTables: async () => {} });
  await shop.sql("ALTER TABLE flex DROP b; ALTER TABLE flex ADD b int");
  await shop.caughtUp();
  await shop.stop();
  await shop.sql(
    "UPDATE flex SET a = 'y'; ALTER TABLE flex DROP b; ALTER TABLE flex ADD b int; UPDATE flex SET a = 'z'",
  );
  shop.start();
  await shop.caughtUp();
  expect(await story(shop)).toEqual([
    "I a:3 b:4",
    "A a:3",
    "A a:3 b:5",
    "U a:3 b:5",
    "A a:3",
    "A a:3 b:6",
    "U a:3 b:6",
  ]);
  expect(shop.gaps).toEqual([]);
});

test("triggers that were taken away and put back tell nothing of what was between", async () => {
  const shop = await world("ddl away");
  const { publicationName } = shop;
  await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
  await shop.caughtUp();
  await shop.stop();
  await shop.sql(`ALTER EVENT TRIGGER ${publicationName}_altered DISABLE`);
  await shop.sql("ALTER TABLE flex DROP b; ALTER TABLE flex ADD b int; UPDATE flex SET a = 'y'");
  await shop.sql(`ALTER EVENT TRIGGER ${publicationName}_altered ENABLE ALWAYS`);
  shop.start();
  await shop.caughtUp();
  expect(shop.gaps).toMatchObject([{ reason: "table_rewritten", table: { name: "flex" } }]);
});

test("a change that could not be told is a gap of everybody; a message of somebody else's is nothing", async () => {
  const shop = await world("ddl failed");
  await shop.sql(
    "SELECT pg_logical_emit_message(true, 'other', '{}'), pg_logical_emit_message(false, 'rowback.ddl', '{}')",
  );
  await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
  await shop.caughtUp();
  expect(shop.gaps).toEqual([]);
  await shop.sql("SELECT pg_logical_emit_message(true, 'rowback.ddl', 'no JSON')");
  await expect
    .poll(() => shop.gaps, { timeout: 15_000 })
    .toMatchObject([{ reason: "table_rewritten", table: null, tenantKey: null }]);
});

test("whoever writes messages like the triggers' is found out by the next look", async () => {
  const shop = await world("ddl forged");
  await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
  await shop.caughtUp();
  const flex = shop.seen?.tables.find(({ table }) => table.name === "flex");
  const columns = flex?.columns.map((column) => ({
    ...column,
    attnum: column.attnum < 3 ? column.attnum : 7 - column.attnum,
  }));
  const forged = JSON.stringify({ table: { ...flex, columns } });
  await shop.sql(`SELECT pg_logical_emit_message(true, 'rowback.ddl', '${forged}')`);
  await expect
    .poll(() => shop.gaps, { timeout: 20_000 })
    .toMatchObject([{ reason: "table_rewritten", table: { name: "flex" } }]);
  await shop.caughtUp();
  expect(await story(shop)).toEqual(["I a:3 b:4", "A a:4 b:3", "A a:3 b:4"]);
});

test("where there are no event triggers, a message like theirs changes nothing", async () => {
  const shop = await CapturedWorld.make(await testDatabase("ddl none"), {
    schema: SCHEMA,
    tables: "tenants, flex, parted",
  });
  onTestFinished(() => shop.end());
  const flex = shop.seen?.tables.find(({ table }) => table.name === "flex");
  const columns = flex?.columns.map((column) => (column.name === "b" ? { ...column, attnum: 9 } : column));
  shop.start();
  await shop.sql(
    `SELECT pg_logical_emit_message(true, 'rowback.ddl', '${JSON.stringify({ table: { ...flex, columns } })}')`,
  );
  await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
  await shop.caughtUp();
  expect(await story(shop)).toEqual(["I a:3 b:4"]);
  expect(shop.gaps).toEqual([]);
});

test("setting up says what to run, tearing down takes it away", async () => {
  const database = await testDatabase("ddl offered");
  const shop = await CapturedWorld.make(database, { schema: SCHEMA, tables: "", url: database.url });
  onTestFinished(() => shop.end());
  const ctx = { source: shop.source, catalogCache: new CatalogCache(), signal: new AbortController().signal };
  const before = await setUpCapture(ctx, { captured: true });
  const offer = before.findings.find(({ code }) => code === "ddl_not_told");
  await shop.sql(offer?.hint.slice(offer.hint.indexOf("CREATE SCHEMA")) ?? "");
  const after = await setUpCapture(ctx, { captured: true });
  expect(after.findings.map(({ code }) => code)).not.toContain("ddl_not_told");
  await tearDownCapture(ctx);
  const { rows } = await shop.query(
    "SELECT evtname FROM pg_event_trigger UNION ALL SELECT nspname FROM pg_namespace WHERE nspname LIKE 'rowback%'",
  );
  expect(rows).toEqual([]);
});
