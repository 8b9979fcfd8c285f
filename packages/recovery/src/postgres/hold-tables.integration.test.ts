import { testDatabase } from "@rowback/local-services/testing";
import { describe, expect, it } from "vitest";
import { readCatalog } from "./catalog.ts";
import { holdTables } from "./hold-tables.ts";
import { withSnapshot } from "./snapshot.ts";
import { withSource } from "./testing/with-source.ts";

const signal = new AbortController().signal;

describe("holdTables", () => {
  it.each([
    ["nothing", "INSERT INTO public.t VALUES (2)", false],
    ["an index", "CREATE INDEX ON public.t (n)", false],
    ["TRUNCATE", "TRUNCATE public.t", true],
    ["a rewrite", "ALTER TABLE public.t ALTER COLUMN n TYPE bigint", true],
    ["VACUUM FULL", "VACUUM FULL public.t", true],
    ["a truncated partition", "TRUNCATE public.p1", true],
    ["a detached partition", "ALTER TABLE public.p DETACH PARTITION public.p1", true],
    ["DROP TABLE", "DROP TABLE public.t", true],
  ])("after the snapshot, %s: %s", async (_what, statement, conflicts) => {
    const database = await testDatabase("hold");
    await database.pool.query(`CREATE TABLE public.t (n int); INSERT INTO public.t VALUES (1);
      CREATE TABLE public.p (n int) PARTITION BY RANGE (n); CREATE TABLE public.p1 PARTITION OF public.p DEFAULT; INSERT INTO public.p VALUES (1)`);
    await withSource(database.url, async (source) => {
      const work = withSnapshot(source, { maxConnections: 1, signal }, async ({ leader }) => {
        const catalog = await readCatalog(leader);
        await database.pool.query(statement);
        await holdTables(
          leader,
          catalog,
          catalog.tables.map(({ table }) => ({ table, scope: { kind: "schema" } })),
        );
        const locked = database.pool.query("SET lock_timeout = '50ms'; TRUNCATE public.t");
        await expect(locked).rejects.toMatchObject({ code: "55P03" });
        return (await leader.query("SELECT n FROM public.t UNION ALL SELECT n FROM public.p")).rows;
      });
      if (conflicts) await expect(work).rejects.toMatchObject({ code: "source_conflict", retryable: true });
      else expect(await work).toEqual([{ n: 1 }, { n: 1 }]);
    });
  });
});
