import { testDatabase } from "@rowback/local-services/testing";
import { describe, expect, it } from "vitest";
import { withSnapshot } from "./snapshot.ts";
import { withSource } from "./testing/with-source.ts";

const running = new AbortController().signal;

describe("withSnapshot", () => {
  it("shows all tables at one moment on every connection, whatever is committed in between (invariant 2)", async () => {
    const database = await testDatabase("moment");
    await database.pool.query(
      "CREATE TABLE public.a (n int); CREATE TABLE public.b (n int); CREATE TABLE public.c (n int)",
    );
    const commitToAll = (n: number): Promise<unknown> =>
      database.pool.query(
        `INSERT INTO public.a VALUES (${n}); INSERT INTO public.b VALUES (${n}); INSERT INTO public.c VALUES (${n})`,
      );
    await commitToAll(1);
    await withSource(database.url, (source) =>
      withSnapshot(source, { maxConnections: 3, signal: running }, async (snapshot) => {
        // Before any follower exists: one that took a snapshot of its own would see this.
        await commitToAll(2);
        const pids = new Set<unknown>();
        let arrived = 0;
        const { promise: together, resolve } = Promise.withResolvers<void>();
        const read = (table: string): Promise<unknown> =>
          snapshot.run(async (client) => {
            arrived += 1;
            if (arrived === 3) resolve();
            await together;
            await commitToAll(3);
            const { rows } = await client.query(
              `SELECT array_agg(n) AS seen, pg_backend_pid() AS pid FROM public.${table}`,
            );
            pids.add(rows[0].pid);
            return rows[0].seen;
          });
        expect(await Promise.all(["a", "b", "c"].map(read))).toEqual([[1], [1], [1]]);
        expect(pids.size).toBe(3);
        expect(await read("a")).toEqual([1]);
      }),
    );
  });

  it("says when, where in the WAL, and on which server", async () => {
    const database = await testDatabase("info");
    await database.pool.query("CREATE TABLE public.a (n int)");
    await withSource(database.url, (source) =>
      withSnapshot(source, { maxConnections: 1, signal: running }, async ({ info, leader }) => {
        await database.pool.query("INSERT INTO public.a VALUES (1)");
        const { rows } = await leader.query(
          "SELECT $1::pg_lsn <= pg_current_wal_lsn() AS before, pg_current_snapshot()::text AS snapshot",
          [info.lsn],
        );
        expect(rows[0]).toEqual({ before: true, snapshot: info.pgSnapshot });
        expect(Math.abs(info.at.getTime() - Date.now())).toBeLessThan(60_000);
        expect(info).toMatchObject({ encoding: "UTF8", serverVersion: expect.stringMatching(/^\d+/) });
        expect(info.serverVersionNumber).toBeGreaterThanOrEqual(130_000);
        await expect(leader.query("CREATE TABLE public.x (a int)")).rejects.toMatchObject({ code: "25006" });
      }),
    );
  });

  it("does all the work with one connection when the source has no other to spare", async () => {
    const database = await testDatabase("one");
    await withSource(
      database.url,
      (source) =>
        withSnapshot(source, { maxConnections: 4, signal: running }, async (snapshot) => {
          const results = await Promise.all(
            [1, 2, 3, 4, 5].map((n) =>
              snapshot.run(async (client) => (await client.query("SELECT $1::int AS n", [n])).rows[0]),
            ),
          );
          expect(results).toEqual([1, 2, 3, 4, 5].map((n) => ({ n })));
        }),
      { maxConnections: 1 },
    );
  });

  it("gives every connection back, and leaves no transaction open, also when the work fails", async () => {
    const database = await testDatabase("back");
    await withSource(database.url, async (source) => {
      const work = withSnapshot(source, { maxConnections: 3, signal: running }, async (snapshot) => {
        await Promise.all([1, 2, 3].map(() => snapshot.run((client) => client.query("SELECT pg_sleep(0.05)"))));
        await snapshot.run((client) => client.query("SELECT 1/0"));
      });
      await expect(work).rejects.toMatchObject({ code: "source_error" });
      const { rows } = await database.pool.query(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'rowback' AND datname = current_database() AND state LIKE 'idle in%'",
      );
      expect(rows[0]).toEqual({ n: 0 });
      await Promise.all([1, 2, 3, 4].map(() => source.connect((client) => client.query("SELECT 1"))));
    });
  });

  it("ends within moments of an abort, on every connection", async () => {
    const database = await testDatabase("abort");
    const abort = new AbortController();
    await withSource(database.url, async (source) => {
      const work = withSnapshot(source, { maxConnections: 3, signal: abort.signal }, (snapshot) =>
        Promise.all([1, 2, 3].map(() => snapshot.run((client) => client.query("SELECT pg_sleep(60) /* snap */")))),
      );
      const outcome = expect(work).rejects.toMatchObject({ code: "cancelled" });
      const active = async (): Promise<number> =>
        Number(
          (
            await database.pool.query(
              "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%/* snap */' AND pid <> pg_backend_pid()",
            )
          ).rows[0].n,
        );
      await expect.poll(active).toBe(3);
      abort.abort();
      await outcome;
      await expect.poll(active, { timeout: 2_000 }).toBe(0);
    });
  });
});
