import { randomUUID } from "node:crypto";
import { claimRun, getSourceConnection, openSecret, succeedRun } from "@rowback/db";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runOf, startTestApi, type TestApi } from "../testing/test-api.ts";

const SECRET = "postgres://app:hunter2@db.example.com:5432/app?sslmode=require";
let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

function register(body: object) {
  return api.call("POST", "/v1/sources", {
    user: "olga",
    body: { name: randomUUID(), connection: "env:SHOP_URL", tenancy: { mode: "column", column: "tenant_id" }, ...body },
  });
}

test("a source's connection string is stored sealed and never shown", async () => {
  const created = await register({ connection: SECRET });
  expect([created.statusCode, created.headers.location]).toEqual([201, `/v1/sources/${created.json().id}`]);
  const { id } = created.json<{ id: string }>();
  const patched = await api.call("PATCH", `/v1/sources/${id}`, { user: "olga", body: { connection: SECRET } });
  const seen = [
    created,
    patched,
    await api.call("GET", `/v1/sources/${id}`, { user: "olga" }),
    await api.call("GET", "/v1/sources", { user: "olga" }),
  ];
  expect(seen.map((response) => response.body).join("")).not.toMatch(/hunter2|sealed|connection/);

  const connection = await getSourceConnection(api.db.system, id);
  if (connection?.kind !== "sealed") throw new Error("the connection is not sealed");
  expect(connection.sealed).not.toContain("hunter2");
  expect(openSecret(connection.sealed, api.deps.settings.secretKey)).toBe(SECRET);
  const audited = await api.db.system.query({
    text: "SELECT before, after FROM audit_log WHERE source_id = $1 AND action IN ('source.create', 'source.change')",
    values: [id],
  });
  expect(audited.rows).toHaveLength(2);
  expect(JSON.stringify(audited.rows)).not.toContain("hunter2");
});

test("a setting's name is stored as it is", async () => {
  const { id } = (await register({})).json<{ id: string }>();
  expect(await getSourceConnection(api.db.system, id)).toEqual({ kind: "reference", reference: "env:SHOP_URL" });
});

test("rules and tenancy are changed, and a name is taken once", async () => {
  const created = (await register({ name: "shop" })).json<{ id: string }>();
  const rules = [{ table: { schema: "public", name: "country" }, scope: { kind: "shared" } }];
  const changed = await api.call("PATCH", `/v1/sources/${created.id}`, { user: "olga", body: { rules } });
  expect([changed.statusCode, changed.json().rules]).toEqual([200, rules]);
  const taken = await register({ name: "shop" });
  expect([taken.statusCode, taken.json().code]).toEqual([409, "conflict"]);
  expect((await api.call("PATCH", `/v1/sources/${randomUUID()}`, { user: "olga", body: { rules } })).statusCode).toBe(
    404,
  );
  const nothing = await api.call("PATCH", `/v1/sources/${created.id}`, { user: "olga", body: {} });
  expect(nothing.statusCode).toBe(400);
});

test.each([
  ["connection", { connection: "mysql://a@b/c" }],
  ["connection", { connection: "postgres:///no-host" }],
  ["connection", { connection: "env:NOT A NAME" }],
  ["connection", { connection: 7 }],
  ["name", { name: "" }],
  ["name", { name: "nul\u0000" }],
  ["tenancy.pattern", { tenancy: { mode: "schema", pattern: "tenants" } }],
  ["tenancy.mode", { tenancy: { mode: "row" } }],
  ["rules[0].scope.kind", { rules: [{ table: { schema: "a", name: "b" }, scope: { kind: "mine" } }] }],
  ["password", { password: "hunter2" }],
])("a wrong %s is named", async (path, body) => {
  const response = await register(body);
  expect([response.statusCode, response.json().code]).toEqual([400, "invalid_request"]);
  expect(response.json().errors.map((error: { path: string }) => error.path)).toContain(path);
  expect(response.body).not.toContain("hunter2");
});

test("a discovery is a run; its result is at hand afterwards, and asked for before, a hint", async () => {
  const { id } = (await register({})).json<{ id: string }>();
  const early = await api.call("GET", `/v1/sources/${id}/discovery`, { user: "olga" });
  expect([early.statusCode, early.json().code]).toEqual([409, "conflict"]);
  expect(early.json().hint).toContain(`/v1/sources/:id/discovery`);

  const sourceId = await api.source();
  const headers = { "idempotency-key": "discover" };
  const run = runOf(await api.call("POST", `/v1/sources/${sourceId}/discovery`, { user: "olga", headers }));
  expect(run).toMatchObject({ kind: "discovery", tenantId: null, sourceId });
  expect(runOf(await api.call("POST", `/v1/sources/${sourceId}/discovery`, { user: "olga", headers })).id).toBe(run.id);
  const claimed = await claimRun(api.db.system, { runId: run.id, worker: "test", leaseMs: 60_000 });
  if (claimed === null) throw new Error("not claimed");
  const finding = { severity: "warning", code: "no_key", message: "no key", hint: "Add one." };
  const result = {
    protectedTables: 4,
    sharedTables: 1,
    unprotectedTables: 1,
    findings: [{ ...finding, table: { schema: "public", name: "orders" } }],
  };
  await succeedRun(api.db.system, { runId: run.id, attemptToken: claimed.attemptToken }, result);

  const found = await api.call("GET", `/v1/sources/${sourceId}/discovery`, { user: "olga" });
  expect(found.json()).toMatchObject({
    runId: run.id,
    unprotectedTables: 1,
    findings: [{ ...finding, table: "public.orders" }],
    isStale: false,
  });
  expect(found.json().tables).toContainEqual(
    expect.objectContaining({
      table: "public.log",
      scope: null,
      unprotectedReason: expect.objectContaining({ code: "ambiguous_path" }),
    }),
  );
});

test("a source that nobody uses is forgotten with its discoveries; one with tenants stays", async () => {
  const { sourceId } = await api.tenant();
  const refused = await api.call("DELETE", `/v1/sources/${sourceId}`, { user: "olga" });
  expect([refused.statusCode, refused.json().code]).toEqual([409, "conflict"]);
  const unused = await api.source();
  await api.call("POST", `/v1/sources/${unused}/discovery`, { user: "olga" });
  expect((await api.call("DELETE", `/v1/sources/${unused}`, { user: "olga" })).statusCode).toBe(204);
  expect((await api.call("GET", `/v1/sources/${unused}`, { user: "olga" })).statusCode).toBe(404);
  expect((await api.call("DELETE", `/v1/sources/${unused}`, { user: "olga" })).statusCode).toBe(404);
});

test("operators register tenants and their members; each sees what is theirs", async () => {
  const sourceId = await api.source();
  const create = (key: string) =>
    api.call("POST", "/v1/tenants", { user: "olga", body: { sourceId, key, name: "Acme" } });
  const created = await create("acme");
  expect(created.statusCode).toBe(201);
  expect((await create("acme")).statusCode).toBe(409);
  const { id } = created.json<{ id: string }>();
  const member = { userId: "ann@example.com", role: "admin" };
  expect((await api.call("POST", `/v1/tenants/${id}/members`, { user: "olga", body: member })).statusCode).toBe(204);
  const mine = await api.call("GET", "/v1/tenants", { user: "ann@example.com" });
  expect(mine.json()).toEqual({ items: [{ id, name: "Acme", role: "admin" }], next: null });
  expect((await api.call("GET", `/v1/tenants/${id}`, { user: "ann@example.com" })).json()).toMatchObject({
    key: "acme",
    sourceId,
  });
  const members = await api.call("GET", `/v1/tenants/${id}/members`, { user: "olga" });
  expect(members.json().items).toEqual([expect.objectContaining(member)]);

  const other = await api.tenant();
  const [foreign, unknown] = [
    await api.call("GET", `/v1/tenants/${other.id}`, { user: "ann@example.com" }),
    await api.call("GET", `/v1/tenants/${randomUUID()}`, { user: "ann@example.com" }),
  ];
  expect(foreign.statusCode).toBe(404);
  expect({ ...foreign.json(), requestId: "" }).toEqual({ ...unknown.json(), requestId: "" });
  const all = await api.call("GET", `/v1/tenants?sourceId=${sourceId}`, { user: "olga" });
  expect(all.json().items).toEqual([expect.objectContaining({ id, key: "acme" })]);
  const unknownSource = await api.call("POST", "/v1/tenants", {
    user: "olga",
    body: { sourceId: randomUUID(), key: "a", name: "b" },
  });
  expect(unknownSource.statusCode).toBe(404);
});
