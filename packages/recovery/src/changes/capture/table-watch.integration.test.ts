import { testDatabase } from "@rowback/local-services/testing";
import { expect, onTestFinished, test } from "vitest";
import { CatalogCache } from "../../postgres/catalog.ts";
import type { SeenTables } from "./capture-target.ts";
import { TableBook } from "./table-book.ts";
import { compareTables } from "./table-watch.ts";
import { CapturedWorld } from "./testing/captured-world.ts";

const SCHEMA = `
CREATE TABLE tenants (id text PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES tenants, note text, n int NOT NULL DEFAULT 1);
INSERT INTO tenants VALUES ('a');
INSERT INTO orders VALUES (1, 'a', 'x');
CREATE TABLE events (id int, tenant_id text NOT NULL REFERENCES tenants, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE loose (id int, tenant_id text NOT NULL REFERENCES tenants, at date NOT NULL, PRIMARY KEY (id, at));
INSERT INTO loose VALUES (1, 'a', '2026-05-05')`;

/** Looks at the tables before and after each statement, as a capture does every ten seconds. */
async function watch(): Promise<(statement: string, truncated?: readonly string[]) => Promise<string[]>> {
  const database = await testDatabase("watch");
  const world = await CapturedWorld.make(database, { schema: SCHEMA, tables: "tenants, orders, events, loose" });
  onTestFinished(() => world.end());
  const book = new TableBook(world.source, "rowback", new CatalogCache());
  let seen: SeenTables | null = null;
  const look = async (truncated: readonly string[] = []): Promise<string[]> => {
    const published = await world.source.connect((client) => book.refresh(client));
    const oids = published.tables.filter(({ table }) => truncated.includes(table.name)).map(({ oid }) => oid);
    const news = compareTables(seen, published, book.plan, new Set(oids));
    const before = seen;
    seen = news.seen;
    for (const gap of news.gaps) {
      expect(gap.beginsLsn).toBe((before ?? seen).lsn);
      if (gap.reason === "table_rewritten") expect(BigInt(gap.causeXid ?? 0)).toBe(published.nextXid);
    }
    return news.gaps.map(({ reason, table, causeXid }) =>
      [reason, table?.name, ...(causeXid === null ? ["open"] : [])].join(" "),
    );
  };
  expect(await look()).toEqual([]);
  return async (statement, truncated) => {
    await world.sql(statement);
    return look(truncated);
  };
}

test("rewrites that change values behind the log's back are noticed, and those that don't are not", async () => {
  const after = await watch();
  const harmless = [
    "UPDATE orders SET n = 2",
    "VACUUM FULL orders",
    "CLUSTER orders USING orders_pkey",
    "TRUNCATE orders; INSERT INTO orders VALUES (1, 'a', 'x')",
    "ALTER TABLE orders ADD plain text",
    "ALTER TABLE orders ADD constant int DEFAULT 7",
    "ALTER TABLE orders RENAME note TO remark",
    "ALTER TABLE orders DROP plain",
    "ANALYZE orders",
  ];
  for (const statement of harmless) expect([statement, await after(statement)]).toEqual([statement, []]);
  for (const statement of [
    "ALTER TABLE orders ADD drawn float8 DEFAULT random()",
    "ALTER TABLE orders ALTER n TYPE bigint USING n + 1",
    "ALTER TABLE orders ALTER n TYPE bigint USING n * 10",
    "ALTER TABLE orders ADD counted int GENERATED ALWAYS AS IDENTITY",
  ])
    expect([statement, await after(statement)]).toEqual([statement, ["table_rewritten orders"]]);
});

test("partitions that bring or take rows are noticed; new empty ones and a logged TRUNCATE are not", async () => {
  const after = await watch();
  expect(
    await after("CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')"),
  ).toEqual([]);
  expect(await after("TRUNCATE events", ["events"])).toEqual([]);
  expect(await after("TRUNCATE events_1")).toEqual(["table_rewritten events"]);
  expect(await after("DROP TABLE events_2")).toEqual(["table_rewritten events"]);
  expect(
    await after(
      "CREATE TABLE events_3 (LIKE events INCLUDING ALL); INSERT INTO events_3 VALUES (1, 'a', '2026-01-02')",
    ),
  ).toEqual(["table_not_published events_3 open"]);
  expect(
    await after("ALTER TABLE events ATTACH PARTITION events_3 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"),
  ).toEqual(["table_rewritten events"]);
});

test("a table that is new, or leaves the publication, has a gap that no backup ends, told once", async () => {
  const after = await watch();
  expect(await after("CREATE TABLE fresh (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES tenants)")).toEqual([
    "table_not_published fresh open",
  ]);
  expect(await after("INSERT INTO fresh VALUES (1, 'a')")).toEqual([]);
  expect(await after("ALTER PUBLICATION rowback DROP TABLE loose")).toEqual(["table_not_published loose open"]);
  expect(await after("DROP TABLE orders")).toEqual([]);
});
