import { randomUUID } from "node:crypto";
import { insertSource, replaceProtectedTables } from "@rowback/db";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { finishBackup, runOf, startTestApi, type TestApi, type TestTenant } from "./testing/test-api.ts";

let api: TestApi;
let tenant: TestTenant;
let stranger: TestTenant;
beforeAll(async () => {
  api = await startTestApi();
  [tenant, stranger] = [await api.tenant(), await api.tenant()];
  await api.member(tenant.id, "olga", "owner");
});
afterAll(() => api.close());

async function backUp(tables: unknown) {
  const response = await api.call("POST", "/v1/backups", { user: tenant.owner, body: { tables } });
  const paths = response.statusCode === 202 ? [] : response.json().errors.map((error: { path: string }) => error.path);
  return { status: response.statusCode, code: response.json().code, paths, body: response.body };
}

async function countRuns(): Promise<unknown> {
  return (await api.db.system.query({ text: "SELECT count(*) FROM runs" })).rows;
}

describe("`tables` (AUDIT A1)", () => {
  test.each([
    ["text", "orders", "tables"],
    ["a number", 7, "tables"],
    ["an object", { 0: "orders" }, "tables"],
    ["an empty list", [], "tables"],
    ["51 names", Array.from({ length: 51 }, (_, index) => `t${index}`), "tables"],
    ["a name that is no text", ["orders", 7], "tables[1]"],
    ["a null name", [null], "tables[0]"],
    ["an empty name", [""], "tables[0]"],
    ["a name of 10,000 letters", ["x".repeat(10_000)], "tables[0]"],
    ["a NUL in a name", ["orders\0"], "tables[0]"],
    ["a broken surrogate in a name", ["\ud800"], "tables[0]"],
    ["a name twice", ["orders", "public.orders"], "tables[1]"],
  ])("that is %s is refused, by name", async (_, tables, path) => {
    const before = await countRuns();
    expect(await backUp(tables)).toMatchObject({ status: 400, code: "invalid_request", paths: [path] });
    expect(await countRuns()).toEqual(before);
  });

  test.each([
    "orders; DROP TABLE runs; --",
    "orders' OR '1'='1",
    'orders" CASCADE; --',
    "(SELECT 1)",
    "orders--",
    "pg_catalog.pg_authid; SELECT pg_sleep(10)",
    "../../etc/passwd",
    "a.b.c",
  ])("with SQL in a name is refused, by name: %s", async (name) => {
    expect(await backUp(["orders", name])).toMatchObject({
      status: 400,
      code: "invalid_request",
      paths: ["tables[1]"],
    });
  });

  test("with unknown, unprotected or shared tables is refused, each by name", async () => {
    const answer = await backUp(["orders", "nowhere", "pg_catalog.pg_authid", "log", "country"]);
    expect(answer).toMatchObject({
      status: 400,
      code: "unknown_table",
      paths: ["tables[1]", "tables[2]", "tables[3]", "tables[4]"],
    });
    expect(answer.body).toContain("two paths lead to a tenant");
  });

  test("in two schemas must say which", async () => {
    expect(await backUp(["items"])).toMatchObject({ status: 400, code: "unknown_table", paths: ["tables[0]"] });
    expect(await backUp(["billing.items", "public.items"])).toMatchObject({ status: 202 });
  });

  test("may hold any name that the catalogue really has, and 50 of them", async () => {
    expect(await backUp(['Odd "name"; --'])).toMatchObject({ status: 202 });
    const known = Array.from({ length: 50 }, (_, index) => ({
      schemaName: "public",
      tableName: `t${index}`,
      scope: { kind: "root", column: "id" },
    }));
    const wide = await api.tenant();
    await replaceProtectedTables(api.db.system, wide.sourceId, known);
    const tables = known.map(({ tableName }) => tableName);
    expect((await api.call("POST", "/v1/backups", { user: wide.owner, body: { tables } })).statusCode).toBe(202);
  });

  test("before any discovery is a conflict with a hint", async () => {
    const source = await insertSource(api.db.system, {
      name: "undiscovered",
      connection: { kind: "reference", reference: "env:NOWHERE" },
      tenancy: { mode: "column", column: "t" },
    });
    const fresh = await api.tenant({ sourceId: source?.id ?? "" });
    const response = await api.call("POST", "/v1/backups", { user: fresh.owner, body: { tables: ["orders"] } });
    expect([response.statusCode, response.json().code]).toEqual([409, "conflict"]);
    expect(response.json().hint).toContain("discovery");
  });

  test("never names another tenant's schema", async () => {
    const source = await insertSource(api.db.system, {
      name: "schemas",
      connection: { kind: "reference", reference: "env:NOWHERE" },
      tenancy: { mode: "schema", pattern: "t_{key}" },
    });
    const sourceId = source?.id ?? "";
    const [mine, other] = [await api.tenant({ sourceId }), await api.tenant({ sourceId })];
    const keys = await Promise.all(
      [mine, other].map(async ({ id }) => (await api.call("GET", `/v1/tenants/${id}`, { user: "olga" })).json().key),
    );
    await replaceProtectedTables(
      api.db.system,
      sourceId,
      keys.map((key) => ({ schemaName: `t_${key}`, tableName: "orders", scope: { kind: "schema" } })),
    );
    const ask = (tables: string[]) => api.call("POST", "/v1/backups", { user: mine.owner, body: { tables } });
    expect((await ask(["orders"])).statusCode).toBe(202);
    const foreign = await ask([`t_${keys[1]}.orders`]);
    expect([foreign.statusCode, foreign.body.includes(keys[1])]).toEqual([400, false]);
  });

  test("of a restore must be in the backup", async () => {
    const backupId = runOf(await api.call("POST", "/v1/backups", { user: tenant.owner, body: {} })).id;
    await finishBackup(api.db, backupId);
    const preview = async (body: object) => {
      const response = await api.call("POST", "/v1/restores/preview", {
        user: tenant.owner,
        body: { backupId, ...body },
      });
      return [response.statusCode, response.json().code, response.json().errors?.[0].path];
    };
    expect(await preview({ tables: ["orders", "country"] })).toEqual([400, "unknown_table", "tables[1]"]);
    expect(await preview({ tables: "orders" })).toEqual([400, "invalid_request", "tables"]);
    expect(await preview({ keys: [{ table: "country", keys: [["1"]] }] })).toEqual([400, "unknown_table", "keys[0]"]);
    expect(await preview({ keys: [{ table: "orders", keys: [[1]] }] })).toEqual([
      400,
      "invalid_request",
      "keys[0].keys[0][0]",
    ]);
    expect(await preview({ mode: "overwrite" })).toEqual([400, "invalid_request", "mode"]);
    expect(await preview({ tables: ["orders"], keys: [{ table: "items", keys: [["1"]] }] })).toEqual([
      202,
      undefined,
      undefined,
    ]);
  });
});

describe("ids", () => {
  test("of another tenant are answered like unknown ones, byte for byte but for the ids", async () => {
    const backupId = runOf(await api.call("POST", "/v1/backups", { user: stranger.owner, body: {} })).id;
    await finishBackup(api.db, backupId);
    const previewId = runOf(
      await api.call("POST", "/v1/restores/preview", { user: stranger.owner, body: { backupId } }),
    ).id;
    const unknown = randomUUID();
    const asks = [
      ["GET", "/v1/backups/$", backupId],
      ["DELETE", "/v1/backups/$", backupId],
      ["POST", "/v1/backups/$/cancel", backupId],
      ["POST", "/v1/backups/$/undelete", backupId],
      ["POST", "/v1/backups/$/verify", backupId],
      ["GET", "/v1/runs/$", backupId],
      ["GET", "/v1/runs/$/events", backupId],
      ["GET", "/v1/restores/$", previewId],
      ["POST", "/v1/restores/$/undo", previewId],
      ["POST", "/v1/restores/$/cancel", previewId],
    ] as const;
    for (const [method, path, foreignId] of asks) {
      const answer = async (id: string) => {
        const { statusCode, body, headers } = await api.call(method, path.replace("$", id), { user: tenant.owner });
        const bodyWithoutIds = body.replaceAll(id, "<id>").replace(/"requestId":"[^"]+"/, "");
        return {
          statusCode,
          body: bodyWithoutIds,
          type: headers["content-type"],
          names: Object.keys(headers).toSorted(),
        };
      };
      expect([method, path, await answer(foreignId)]).toEqual([method, path, await answer(unknown)]);
      expect((await answer(foreignId)).statusCode).toBe(404);
    }
    const bodies = [
      ["/v1/restores/preview", { backupId }, { backupId: unknown }],
      ["/v1/restores", { previewId, planDigest: "x" }, { previewId: unknown, planDigest: "x" }],
    ] as const;
    for (const [path, foreign, none] of bodies) {
      const [first, second] = [
        await api.call("POST", path, { user: tenant.owner, body: foreign }),
        await api.call("POST", path, { user: tenant.owner, body: none }),
      ];
      expect(first.statusCode).toBe(404);
      expect({ ...first.json(), requestId: "" }).toEqual({ ...second.json(), requestId: "" });
    }
    const still = await api.call("GET", `/v1/backups/${backupId}`, { user: stranger.owner });
    expect(still.json()).toMatchObject({ status: "succeeded", deletedAt: null });
  });

  test.each(["x", "1", "%00", "..%2f..%2fetc", "'%20OR%201=1", "00000000-0000-0000-0000-00000000000g"])(
    "that are none (%s) are named",
    async (id) => {
      const response = await api.call("GET", `/v1/backups/${id}`, { user: tenant.owner });
      expect([response.statusCode, response.json().errors]).toEqual([400, [expect.objectContaining({ path: "id" })]]);
    },
  );
});

describe("the rest of a request", () => {
  test.each([
    ["limit=0", "limit"],
    ["limit=501", "limit"],
    ["limit=ten", "limit"],
    ["status=done", "status"],
    ["type=half", "type"],
    ["from=yesterday", "from"],
    ["to=2026-02-30T00:00:00Z", "to"],
    ["cursor=nonsense", "cursor"],
    ["cursor=eyJhdCI6MX0", "cursor"],
    ["staus=failed", "staus"],
  ])("?%s is refused, by name", async (query, path) => {
    const response = await api.call("GET", `/v1/backups?${query}`, { user: tenant.owner });
    expect([response.statusCode, response.json().code]).toEqual([400, "invalid_request"]);
    expect(response.json().errors.map((error: { path: string }) => error.path)).toContain(path);
    expect(response.headers["content-type"]).toContain("application/problem+json");
  });

  test.each([
    ["no JSON", "{", "application/json", 400, "invalid_request"],
    ["nothing at all", "", "application/json", 400, "invalid_request"],
    ["a list", "[]", "application/json", 400, "invalid_request"],
    ["a poisoned prototype", '{"__proto__":{"admin":true}}', "application/json", 400, "invalid_request"],
    ["an unknown member", '{"tabels":["orders"]}', "application/json", 400, "invalid_request"],
    ["too much", `{"x":"${"x".repeat(70_000)}"}`, "application/json", 413, "payload_too_large"],
    ["XML", "<a/>", "application/xml", 415, "unsupported_media_type"],
  ])("a body of %s is refused", async (_, payload, type, status, code) => {
    const headers = { authorization: `Bearer ${api.token(tenant.owner)}`, "content-type": type };
    const response = await api.app.inject({ method: "POST", url: "/v1/backups", headers, payload });
    expect([response.statusCode, response.json().code]).toEqual([status, code]);
  });

  test.each(["", "two words", "x".repeat(201), "käse"])("an Idempotency-Key of %j is refused", async (key) => {
    const response = await api.call("POST", "/v1/backups", {
      user: tenant.owner,
      headers: { "idempotency-key": key },
      body: {},
    });
    expect([response.statusCode, response.json().errors?.[0].path]).toEqual([400, "idempotency-key"]);
  });

  test("an unknown route is a problem too", async () => {
    const response = await api.call("GET", "/v1/nowhere", { user: tenant.owner });
    expect([response.statusCode, response.json()]).toEqual([
      404,
      expect.objectContaining({ code: "not_found", type: "urn:rowback:error:not_found" }),
    ]);
  });

  test("a defect is told with the request's id and nothing else", async () => {
    const { query } = api.db.system;
    Object.assign(api.db.system, { query: () => Promise.reject(new TypeError("secret detail of /src/file.ts")) });
    const response = await api
      .call("GET", "/v1/backups", { user: tenant.owner })
      .finally(() => Object.assign(api.db.system, { query }));
    expect([response.statusCode, response.json()]).toEqual([
      500,
      expect.objectContaining({ code: "internal", requestId: expect.any(String) }),
    ]);
    expect(response.body).not.toMatch(/secret|TypeError|file\.ts|stack/);
  });
});
