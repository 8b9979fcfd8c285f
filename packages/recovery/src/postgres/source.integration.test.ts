import net from "node:net";
import { testDatabase, testRole } from "@rowback/local-services/testing";
import copyStreams from "pg-copy-streams";
import { describe, expect, it } from "vitest";
import { RecoveryError } from "../errors.ts";
import { openSource, SESSION_SETTINGS } from "./source.ts";
import { withSource } from "./testing/with-source.ts";

async function failure(promise: Promise<unknown>): Promise<RecoveryError> {
  const error: unknown = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof RecoveryError)) throw new Error("No RecoveryError was thrown.", { cause: error });
  return error;
}

async function runningStatements(
  pool: Awaited<ReturnType<typeof testDatabase>>["pool"],
  mark: string,
): Promise<number> {
  const { rows } = await pool.query<{ n: string }>(
    "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE $1",
    [`%${mark}%`],
  );
  return Number(rows[0]?.n);
}

describe("openSource", () => {
  it("applies every session setting, whatever the role's or the database's defaults are", async () => {
    const database = await testDatabase("settings");
    await database.pool.query(`ALTER DATABASE "${database.name}" SET DateStyle = 'German'`);
    await database.pool.query(`ALTER DATABASE "${database.name}" SET statement_timeout = '1s'`);
    await database.pool.query(`ALTER DATABASE "${database.name}" SET TimeZone = 'Asia/Tokyo'`);
    await withSource(database.url, (source) =>
      source.connect(async (client) => {
        const { rows } = await client.query<{ name: string; value: string }>(
          "SELECT n AS name, current_setting(n) AS value FROM unnest($1::text[]) n",
          [Object.keys(SESSION_SETTINGS)],
        );
        expect(Object.fromEntries(rows.map(({ name, value }) => [name, value]))).toEqual(SESSION_SETTINGS);
      }),
    );
  });

  it("cancels the running statement on the server, and does not reuse the connection", async () => {
    const database = await testDatabase("cancel");
    await withSource(
      database.url,
      async (source) => {
        const abort = new AbortController();
        const sleeping = source.connect((client) => client.query("SELECT pg_sleep(60) /* cancel-me */"), {
          signal: abort.signal,
        });
        const failed = failure(sleeping);
        await expect.poll(() => runningStatements(database.pool, "cancel-me")).toBe(1);
        abort.abort();
        expect((await failed).code).toBe("cancelled");
        await expect.poll(() => runningStatements(database.pool, "cancel-me"), { timeout: 2_000 }).toBe(0);
        expect(await source.connect(async (client) => (await client.query("SELECT 1 AS one")).rows)).toEqual([
          { one: 1 },
        ]);
      },
      { maxConnections: 1 },
    );
  });

  it("ends a COPY that nobody reads any more", async () => {
    const database = await testDatabase("copy");
    await withSource(database.url, async (source) => {
      const abort = new AbortController();
      const copying = source.connect(
        async (client) => {
          const rows = client.query(
            copyStreams.to("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 10000000)) TO STDOUT"),
          );
          // Read one chunk, then wait for ever, as a writer to a store that hangs would.
          for await (const chunk of rows)
            if (chunk !== null) await new Promise((_, reject) => rows.once("error", reject));
        },
        { signal: abort.signal },
      );
      const failed = failure(copying);
      await expect.poll(() => runningStatements(database.pool, "generate_series(1, 10000000)")).toBe(1);
      abort.abort();
      expect((await failed).code).toBe("cancelled");
      await expect
        .poll(() => runningStatements(database.pool, "generate_series(1, 10000000)"), { timeout: 2_000 })
        .toBe(0);
    });
  });

  it("refuses to start for a run that is already cancelled, also while it waits for a connection", async () => {
    const database = await testDatabase("queue");
    await withSource(
      database.url,
      async (source) => {
        expect((await failure(source.connect(async () => 1, { signal: AbortSignal.abort() }))).code).toBe("cancelled");
        await source.connect(async () => {
          expect(source.tryConnect(async () => 1)).toBeNull();
          const abort = new AbortController();
          const waiting = failure(source.connect(async () => 1, { signal: abort.signal }));
          abort.abort();
          expect((await waiting).code).toBe("cancelled");
        });
        expect(await source.tryConnect(async () => 1)).toBe(1);
      },
      { maxConnections: 1 },
    );
  });

  it("throws a connection away that was left inside a transaction", async () => {
    const database = await testDatabase("left");
    await withSource(
      database.url,
      async (source) => {
        const pid = async (): Promise<unknown> =>
          source.connect(async (client) => (await client.query("SELECT pg_backend_pid() AS pid")).rows[0]);
        const first = await pid();
        expect(await pid()).toEqual(first);
        await source.connect((client) => client.query("BEGIN"));
        expect(await pid()).not.toEqual(first);
      },
      { maxConnections: 1 },
    );
  });

  it("says which of the ways to fail it was, and never repeats the connection string", async () => {
    const database = await testDatabase("fail");
    const role = await testRole(database);
    const wrongPassword = new URL(role.url);
    wrongPassword.password = "hunter2-wrong";
    const noDatabase = new URL(database.url);
    noDatabase.pathname = "/no_such_database";
    const closed = new URL(database.url);
    closed.port = String(await freePort());
    for (const [url, code] of [
      [wrongPassword.href, "source_auth_failed"],
      [noDatabase.href, "source_not_configured"],
      [closed.href, "source_unreachable"],
    ] as const) {
      const error = await withSource(url, (source) => failure(source.connect(async () => 1)));
      expect(error.code).toBe(code);
      expect(`${error.stack}${JSON.stringify(error)}${String(error.cause)}`).not.toMatch(
        /hunter2-wrong|postgres(ql)?:\/\//,
      );
    }
    for (const connectionString of [
      "",
      "nonsense hunter2",
      "mysql://u:hunter2@h/d",
      "postgres://u:hunter2@h:notaport/d",
    ]) {
      const open = async (): Promise<unknown> =>
        openSource({
          id: "x",
          connectionString,
          tenancy: { mode: "column", column: "t" },
          rules: [],
          maxConnections: 1,
        });
      const error = await failure(open());
      expect(error.code).toBe("source_not_configured");
      expect(`${error.stack}${JSON.stringify(error)}${String(error.cause)}`).not.toContain("hunter2");
    }
  });

  it("gives up on a server that accepts and says nothing", async () => {
    const silent = net.createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => silent.once("listening", resolve));
    const address = silent.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    try {
      await withSource(
        `postgres://u:p@127.0.0.1:${port}/d`,
        async (source) => {
          expect((await failure(source.connect(async () => 1))).code).toBe("source_unreachable");
        },
        { connectTimeoutMs: 200 },
      );
    } finally {
      silent.close();
    }
  });

  it("reports a connection that the server ended as unreachable", async () => {
    const database = await testDatabase("ended");
    await withSource(database.url, async (source) => {
      const error = await failure(
        source.connect(async (client) => {
          const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
          await database.pool.query("SELECT pg_terminate_backend($1)", [rows[0]?.pid]);
          await client.query("SELECT pg_sleep(5)");
        }),
      );
      expect(error).toMatchObject({ code: "source_unreachable", retryable: true });
    });
  });

  it("raises where a policy would hide rows, and where a right is missing", async () => {
    const database = await testDatabase("rls");
    const role = await testRole(database);
    await database.pool.query(`CREATE TABLE public.hidden (a int); ALTER TABLE public.hidden ENABLE ROW LEVEL SECURITY;
      CREATE TABLE public.forbidden (a int); GRANT SELECT ON public.hidden TO "${role.name}"`);
    await withSource(role.url, async (source) => {
      expect((await failure(source.connect((c) => c.query("SELECT * FROM public.hidden")))).code).toBe(
        "source_rls_active",
      );
      expect((await failure(source.connect((c) => c.query("SELECT * FROM public.forbidden")))).code).toBe(
        "source_privilege_missing",
      );
    });
  });
});

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 1;
}
