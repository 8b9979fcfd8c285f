import { testDatabase } from "@rowback/local-services/testing";
import { expect, onTestFinished, test } from "vitest";
import { CapturedWorld } from "./testing/captured-world.ts";

const SCHEMA = `
CREATE TABLE tenants (id text PRIMARY KEY);
INSERT INTO tenants VALUES ('a');
CREATE TABLE flex (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES tenants, a text, b int);
ALTER TABLE flex REPLICA IDENTITY FULL`;

async function world(name: string, schema = SCHEMA, tables = "tenants, flex"): Promise<CapturedWorld> {
  const made = await CapturedWorld.make(await testDatabase(name), { schema, tables });
  onTestFinished(() => made.end());
  return made;
}

/** `name:attnum` of each definition that the log has of the table, in the order in which they came. */
function definitions({ segments }: CapturedWorld): string[] {
  return segments
    .flatMap(({ index }) => index.relations)
    .filter(({ table }) => table.name === "flex")
    .map(({ columns }) => columns.map(({ name, attnum }) => `${name}:${attnum}`).join(" "));
}

test("a message is older than the catalogue: its columns are the ones they were, not those that have their names now", async () => {
  const shop = await world("columns lag");
  await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
  await shop.sql("ALTER TABLE flex RENAME a TO a2");
  await shop.sql("INSERT INTO flex VALUES (2, 'a', 'y', 2)");
  await shop.sql("ALTER TABLE flex RENAME a2 TO a; ALTER TABLE flex DROP b");
  await shop.sql("INSERT INTO flex VALUES (3, 'a', 'z')");
  shop.start();
  await shop.caughtUp();
  expect(definitions(shop)).toEqual(["id:1 tenant_id:2 a:3 b:4", "id:1 tenant_id:2 a2:3 b:4", "id:1 tenant_id:2 a:3"]);
});

/** The `A` lines: `column:attnum …`, and whether the place that each names lies before it. */
async function alterations(shop: CapturedWorld): Promise<string[]> {
  const lines = (await shop.lines()).filter(({ op }) => op === "A");
  for (const { lsn, row } of lines) expect(lsn.localeCompare(row.split("|")[0]?.split("\t")[0] ?? "")).toBe(1);
  return lines.map(({ relation }) => relation.columns.map(({ name, attnum }) => `${name}:${attnum}`).join(" "));
}

test("a table that nobody changes a row of has its new columns in the log all the same, once a look has found them", async () => {
  const shop = await world("columns look");
  await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
  shop.start();
  await shop.caughtUp();
  await shop.stop();
  expect(await alterations(shop)).toEqual([]);
  await shop.sql("ALTER TABLE flex DROP b; ALTER TABLE flex ADD b int DEFAULT 7");
  shop.start();
  await expect.poll(() => alterations(shop), { timeout: 15_000 }).toEqual(["id:1 tenant_id:2 a:3 b:5"]);
  expect(shop.segments.at(-1)?.index).toMatchObject({ changes: 0, alterations: 1 });
  expect(shop.gaps).toEqual([]);
  await shop.sql("UPDATE flex SET a = 'y'");
  // What a look showed is remembered a moment after it is in the log: a capture that ends in between is followed by one that tells it again.
  const remembered = (): unknown => shop.seen?.tables.find(({ table }) => table.name === "flex")?.columns.at(-1);
  await expect.poll(remembered, { timeout: 15_000 }).toMatchObject({ attnum: 5 });
  await shop.stop();
  shop.start();
  await shop.caughtUp();
  // Told once.
  expect(await alterations(shop)).toHaveLength(1);
  expect(definitions(shop).at(-1)).toBe("id:1 tenant_id:2 a:3 b:5");
});

test("a column that is made again while nobody looked could be either: a gap, until what a backup shows is certain again", async () => {
  const shop = await world("columns unclear");
  shop.start();
  await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
  await shop.caughtUp();
  await shop.stop();
  const { lsn } = shop.covered;
  await shop.sql("ALTER TABLE flex DROP b; ALTER TABLE flex ADD b int; UPDATE flex SET a = 'y'");
  shop.start();
  await shop.caughtUp();
  expect(shop.gaps).toMatchObject([{ reason: "table_rewritten", tenantKey: null, table: { name: "flex" } }]);
  expect((shop.gaps[0]?.beginsLsn ?? "") <= lsn).toBe(true);
  await expect.poll(() => definitions(shop).at(-1), { timeout: 15_000 }).toBe("id:1 tenant_id:2 a:3 b:5");
  const change = (await shop.lines()).find(({ op }) => op === "U");
  expect(change?.relation.columns.map(({ attnum }) => attnum)).toEqual([null, null, null, null]);
  expect(BigInt(shop.gaps[0]?.causeXid ?? 0)).toBeGreaterThan(BigInt(change?.xid ?? 0));
});

test("a message that says the same again may speak of another column", async () => {
  const shop = await world("columns again");
  shop.start();
  await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
  await shop.caughtUp();
  await shop.sql("ALTER TABLE flex DROP b; ALTER TABLE flex ADD b int; UPDATE flex SET a = 'y'");
  await shop.caughtUp();
  expect(shop.gaps).toMatchObject([{ reason: "table_rewritten", table: { name: "flex" } }]);
});

test("what older rows have is kept when a rewrite makes the catalogue forget it, and numbers when the plan changes", async () => {
  const shop = await world("columns rewritten");
  shop.start();
  await shop.sql("ALTER TABLE flex ADD c text DEFAULT 'given'");
  await shop.sql("INSERT INTO flex VALUES (1, 'a', 'x', 1)");
  const remembered = (): unknown => shop.seen?.tables.flatMap(({ columns }) => columns.map(({ missing }) => missing));
  await expect.poll(remembered, { timeout: 15_000 }).toContain("given");
  await shop.stop();
  const before = shop.seen?.lsn;
  await shop.sql("VACUUM FULL flex");
  await shop.sql("CREATE TABLE other (id int PRIMARY KEY, flex_id int REFERENCES flex)");
  // Written out, so that the first look is behind it: a look that may be older than the message is looked again, ten seconds later.
  await shop.sql("BEGIN; SET LOCAL synchronous_commit = on; UPDATE flex SET b = 2; COMMIT");
  shop.start();
  await shop.caughtUp();
  const missing = (await shop.lines())
    .filter(({ op }) => op === "I" || op === "U")
    .map(({ relation }) =>
      relation.columns.map(({ name, attnum, missing: text }) => `${name}:${attnum}:${text}`).at(-1),
    );
  expect(missing).toEqual(["c:5:given", "c:5:given"]);
  // The look that shows it without the value is passed.
  await expect.poll(() => shop.seen?.lsn ?? "", { timeout: 15_000 }).not.toBe(before);
  await shop.sql("UPDATE flex SET b = 3");
  await shop.caughtUp();
  expect((await shop.lines()).at(-1)?.relation.columns.at(-1)).toMatchObject({ attnum: 5, missing: "given" });
});

test("parents are not looked up ahead past a message that moves the column which names them", async () => {
  const shop = await world(
    "columns ahead",
    `${SCHEMA}; INSERT INTO flex VALUES (1, 'a'), (2, 'a');
     CREATE TABLE parts (old int, flex_id int REFERENCES flex, word text, id int PRIMARY KEY); ALTER TABLE parts REPLICA IDENTITY FULL`,
    "tenants, flex, parts",
  );
  // One transaction, so that one batch has it all.
  await shop.sql(
    "BEGIN; INSERT INTO parts VALUES (0, 1, 'one', 10); ALTER TABLE parts DROP old; INSERT INTO parts VALUES (2, 'two', 11); COMMIT",
  );
  shop.start();
  await shop.caughtUp();
  expect(await shop.story()).toEqual([
    "a parts I 0|1|one|10",
    expect.stringMatching(/^\* parts A /),
    "a parts I 2|two|11",
  ]);
});
