import { testDatabase } from "@rowback/local-services/testing";
import { describe, expect, it } from "vitest";
import { readCatalog } from "./catalog.ts";
import type { Catalog } from "./catalog-types.ts";
import { readDdl } from "./ddl.ts";
import { hardTypesSql } from "./testing/fixtures.ts";
import { withSourceClient } from "./testing/with-source.ts";

const MORE = `
  CREATE SCHEMA "Other ""S""";
  CREATE SEQUENCE "Other ""S""".shared_seq INCREMENT 5 MINVALUE -3 START 7 CACHE 2 CYCLE;
  CREATE TABLE "Other ""S"""."T.1" (id bigint PRIMARY KEY DEFAULT nextval('"Other ""S""".shared_seq'), n hard.mood[] DEFAULT '{sad}',
    CONSTRAINT "ch eck" CHECK (id <> 3), EXCLUDE USING gist (box(point(id, id), point(id, id)) WITH &&), UNIQUE NULLS NOT DISTINCT (n));
  CREATE UNIQUE INDEX "partial ON ONLY index" ON "Other ""S"""."T.1" (lower(id::text)) WHERE id > 5;
  CREATE INDEX ON hard.events (at DESC NULLS LAST) INCLUDE (payload);
  CREATE TABLE hard.base (a int NOT NULL, CHECK (a > 0)); CREATE TABLE hard.derived (b text) INHERITS (hard.base);
  CREATE UNLOGGED TABLE hard.fast (a public.citext PRIMARY KEY);
  ALTER TABLE hard.no_key ADD CONSTRAINT later FOREIGN KEY (n) REFERENCES hard.nodes NOT VALID;`;

/** What must be the same on both sides: everything but oids, sizes and the session. */
function comparable({ tables, foreignKeys }: Catalog): unknown {
  return {
    foreignKeys,
    tables: tables.map(({ oid: _oid, bytes: _bytes, estimatedRows: _rows, columns, ...table }) => ({
      ...table,
      columns: columns.map(({ typeOid: _type, attnum: _attnum, ...column }) => column),
    })),
  };
}

describe("readDdl", () => {
  it("rebuilds the hard schema in an empty database: the catalogues are equal", async () => {
    const database = await testDatabase("ddl_from");
    await database.pool.query(await hardTypesSql());
    await database.pool.query(MORE);
    const [original, ddl] = await withSourceClient(database.url, async (client) => {
      const catalog = await readCatalog(client);
      const tables = catalog.tables.map((table) => table.table);
      return [catalog, await readDdl(client, catalog, tables)] as const;
    });
    const empty = await testDatabase("ddl_to");
    const fresh = await empty.pool.connect();
    await fresh.query(ddl);
    fresh.release(true);
    const rebuilt = await withSourceClient(empty.url, (client) => readCatalog(client));
    expect(comparable(rebuilt)).toEqual(comparable(original));
  });

  it("costs nothing the second time, and leaves foreign keys to other tables out, by name", async () => {
    const database = await testDatabase("ddl_some");
    await database.pool.query(
      "CREATE TABLE public.a (id int PRIMARY KEY); CREATE TABLE public.b (a int REFERENCES public.a)",
    );
    await withSourceClient(database.url, async (client) => {
      const catalog = await readCatalog(client);
      const tables = [{ schema: "public", name: "b" }];
      const ddl = await readDdl(client, catalog, tables);
      expect(ddl).toContain("-- Left out: foreign key b_a_fkey of public.b, to public.a.");
      expect(ddl).not.toContain("REFERENCES");
      await database.pool.query("DROP TABLE public.b");
      expect(await readDdl(client, catalog, tables)).toBe(ddl);
    });
  });
});
