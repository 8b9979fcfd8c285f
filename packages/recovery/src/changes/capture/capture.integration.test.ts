import { testDatabase } from "@rowback/local-services/testing";
import { expect, onTestFinished, test } from "vitest";
import { CapturedWorld, type WorldOptions } from "./testing/captured-world.ts";

const SHOP = `
CREATE TABLE tenants (id text PRIMARY KEY, name text);
INSERT INTO tenants VALUES ('a', 'Acme'), ('b', 'Bolt');
CREATE TABLE orders (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES tenants, note text);
CREATE TABLE lines (id int PRIMARY KEY, order_id int NOT NULL REFERENCES orders ON DELETE CASCADE, qty numeric(10, 3));
ALTER TABLE orders REPLICA IDENTITY FULL;
ALTER TABLE lines REPLICA IDENTITY FULL`;

async function world(name: string, options: Partial<WorldOptions> = {}): Promise<CapturedWorld> {
  const made = await CapturedWorld.make(await testDatabase(name), {
    schema: SHOP,
    tables: "tenants, orders, lines",
    ...options,
  });
  onTestFinished(() => made.end());
  return made;
}

test("each change reaches its tenant, through its own column or its parents, in commit order", async () => {
  const shop = await world("capture");
  await shop.sql(
    `BEGIN; INSERT INTO orders VALUES (1, 'a', E'tab\\t'), (2, 'b', NULL); INSERT INTO lines VALUES (10, 1, 1.5), (20, 2, 2); COMMIT`,
  );
  shop.start();
  await shop.sql("UPDATE orders SET note = 'x' WHERE id = 1");
  await shop.sql("UPDATE lines SET qty = 7.25 WHERE id = 20");
  await shop.sql("DELETE FROM orders WHERE id = 1");
  await shop.caughtUp();
  expect(await shop.story()).toEqual([
    "a orders I 1|a|tab\\t",
    "b orders I 2|b|\\N",
    "a lines I 10|1|1.500",
    "b lines I 20|2|2.000",
    "a orders O 1|a|tab\\t",
    "a orders U 1|a|x",
    "b lines O 20|2|2.000",
    "b lines U 20|2|7.250",
    "a orders D 1|a|x",
    "a lines D 10|1|1.500",
  ]);
  const lines = await shop.lines();
  expect(lines[0]?.xid).toBe(lines[1]?.xid);
  expect(BigInt(lines[0]?.xid ?? 0)).toBeGreaterThanOrEqual(shop.startXid);
});

test("a row that changes its tenant leaves one and comes to the other; what hangs on it is a gap for both", async () => {
  const shop = await world("capture moves");
  shop.start();
  await shop.sql("INSERT INTO orders VALUES (1, 'a', 'x'), (2, 'a', 'y'); INSERT INTO lines VALUES (10, 1, 1)");
  await shop.sql("UPDATE lines SET order_id = 2 WHERE id = 10");
  await shop.sql("UPDATE orders SET tenant_id = 'b' WHERE id = 2");
  await shop.sql("UPDATE lines SET qty = 2 WHERE id = 10");
  await shop.caughtUp();
  expect((await shop.story()).slice(3)).toEqual([
    "a lines O 10|1|1.000",
    "a lines U 10|2|1.000",
    "a orders D 2|a|y",
    "b orders I 2|b|y",
    "b lines O 10|2|1.000",
    "b lines U 10|2|2.000",
  ]);
  const [move] = (await shop.lines()).filter((line) => line.op === "D");
  expect(shop.gaps.map(({ reason, tenantKey }) => [reason, tenantKey])).toEqual([
    ["tenant_moved", "a"],
    ["tenant_moved", "b"],
  ]);
  expect(shop.gaps[0]?.causeXid).toBe(move?.xid);
  expect(shop.gaps[0]?.beginsLsn.localeCompare(move?.lsn ?? "")).toBe(-1);
});

test("with the default identity, what a delete and an update can't tell goes to the shared part", async () => {
  const shop = await world("capture identity", {
    schema: `${SHOP}; ALTER TABLE orders REPLICA IDENTITY DEFAULT; ALTER TABLE lines REPLICA IDENTITY DEFAULT`,
  });
  shop.start();
  await shop.sql("INSERT INTO orders VALUES (1, 'a', 'x'); INSERT INTO lines VALUES (10, 1, 1)");
  await shop.sql("UPDATE orders SET note = 'y' WHERE id = 1");
  await shop
    .sql("UPDATE orders SET id = 3 WHERE id = 1 AND NOT EXISTS (SELECT FROM lines WHERE order_id = 3)")
    .catch(() => {});
  await shop.sql("DELETE FROM lines; UPDATE orders SET id = 4; DELETE FROM orders; TRUNCATE orders, lines");
  await shop.caughtUp();
  expect((await shop.story()).slice(2)).toEqual([
    "* orders M →a 1|\\U|\\U",
    "a orders U 1|a|y",
    "* lines D 10|\\U|\\U",
    "* orders M →a 1|\\U|\\U",
    "a orders O 1|\\U|\\U",
    "a orders U 4|a|y",
    "* orders D 4|\\U|\\U",
    "* orders X",
    "* lines X",
  ]);
});

test("an index that covers the tenant's column tells every tenant, and a toasted value that did not change is unknown, not NULL", async () => {
  const shop = await world("capture index", {
    schema: `${SHOP}; CREATE UNIQUE INDEX covering ON orders (id, tenant_id); ALTER TABLE orders REPLICA IDENTITY USING INDEX covering;
      ALTER TABLE orders ALTER note SET STORAGE EXTERNAL, ADD extra text`,
  });
  shop.start();
  await shop.sql("INSERT INTO orders VALUES (1, 'a', repeat('x', 10000), NULL)");
  await shop.sql("UPDATE orders SET extra = 'e'");
  await shop.sql("UPDATE orders SET tenant_id = 'b'");
  await shop.sql("DELETE FROM orders");
  await shop.caughtUp();
  expect((await shop.story()).slice(1)).toEqual([
    "a orders U 1|a|\\U|e",
    "a orders D 1|a|\\U|\\U",
    "b orders I 1|b|\\U|e",
    "b orders D 1|b|\\U|\\U",
  ]);
  expect(shop.gaps.map((gap) => gap.tenantKey)).toContain("b");
});

test("a transaction larger than a segment spans several, and is recorded with its last", async () => {
  const shop = await world("capture big", { limits: { bytes: 100_000, ms: 20 } });
  const published: number[] = [];
  shop.start({
    publish: async (segments, covered) => {
      if (segments.length > 0) published.push(segments.length);
      shop.segments.push(...segments);
      shop.covered = covered;
    },
  });
  await shop.sql("INSERT INTO orders SELECT n, 'a', repeat('n', 100) FROM generate_series(1, 5000) AS n");
  await shop.caughtUp();
  expect(published).toEqual([shop.segments.length]);
  expect(shop.segments.length).toBeGreaterThan(4);
  const flags = shop.segments.map(({ index: { piece, continued, continues } }) => [piece, continued, continues]);
  expect(flags).toEqual(flags.map((_, n) => [n, n > 0, n < flags.length - 1]));
  expect(new Set(shop.segments.map(({ index }) => index.last.lsn)).size).toBe(1);
  expect((await shop.lines()).map(({ seq }) => seq)).toEqual(Array.from({ length: 5000 }, (_, n) => n));
});

test("whoever goes on after a crash deletes what was not recorded, repeats nothing and loses nothing", async () => {
  const shop = await world("capture crash", { limits: { bytes: 50_000, ms: 20 } });
  let refuse = false;
  const flaky = {
    publish: async (segments: typeof shop.segments, covered: typeof shop.covered) => {
      if (refuse && segments.length > 0) throw new Error("killed between storing and recording");
      shop.segments.push(...segments);
      shop.covered = covered;
    },
  };
  shop.start({ publish: async (segments, covered) => flaky.publish([...segments], covered) });
  await shop.sql("INSERT INTO orders VALUES (1, 'a', 'x')");
  await shop.caughtUp();
  refuse = true;
  await shop.sql("INSERT INTO orders SELECT n, 'b', repeat('n', 100) FROM generate_series(2, 2000) AS n");
  await expect.poll(() => shop.problems.length, { timeout: 10_000 }).toBe(1);
  await shop.stop();
  shop.problems.length = 0;
  refuse = false;
  shop.start({ publish: async (segments, covered) => flaky.publish([...segments], covered) });
  await shop.sql("INSERT INTO orders VALUES (0, 'a', 'z')");
  await shop.caughtUp();
  const ids = (await shop.lines()).map(({ row }) => Number(row.split("\t")[0]));
  expect(ids).toEqual([...Array.from({ length: 2000 }, (_, n) => n + 1), 0]);
  const stored: string[] = [];
  for await (const { key } of shop.store.list("")) stored.push(key);
  expect(stored).toEqual(shop.segments.map(({ key }) => key));
});

test("an idle source writes no objects, and the log still reaches the present", async () => {
  const shop = await world("capture idle");
  shop.start();
  await shop.sql("CREATE TABLE elsewhere (n int); INSERT INTO elsewhere SELECT generate_series(1, 1000)");
  await shop.caughtUp();
  const { at } = shop.covered;
  await shop.sql("INSERT INTO elsewhere VALUES (1)");
  await shop.caughtUp();
  expect(shop.covered.at > at).toBe(true);
  expect(shop.segments).toEqual([]);
});
