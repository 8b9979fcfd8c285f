import { randomUUID } from "node:crypto";
import { listAuditEntries, verifyAuditLog } from "@rowback/db";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { ROUTE_CASES } from "./testing/route-cases.ts";
import { startTestApi, type TestApi, type TestTenant } from "./testing/test-api.ts";
import { THINGS } from "./testing/things.ts";

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

const Method = z.enum(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);

/** `GET /v1/backups/:id` of every route that asks who calls, without the board, whose routes are another's. */
function closedRoutes(): string[] {
  const closed = api.app.accessTable().filter(({ access }) => access !== "public");
  return closed.flatMap(({ methods, url }) => methods.map((method) => `${method} ${url}`));
}
const isBoard = (route: string): boolean => / \/admin\/queues(\/|$)/.test(route);
/** A HEAD is its GET without the body. */
const caseOf = (route: string) => ROUTE_CASES[route.replace(/^HEAD /, "GET ")];

const Entry = z.object({ id: z.string(), action: z.string(), user: z.string(), ip: z.string().nullable() });

/** What came with a request, whichever chain it is in: workers, who have no address, note what became of it. */
async function entriesBy(userId: string): Promise<z.infer<typeof Entry>[]> {
  const text = `SELECT id::text, action, user_id AS "user", host(ip) AS ip FROM audit_log a WHERE user_id = $1 AND ip IS NOT NULL ORDER BY a.id`;
  const { rows } = await api.db.system.query({ text, values: [userId] });
  return z.array(Entry).parse(rows);
}

/** Makes a new operator, so that no read of an earlier test stands for this one. */
async function newOperator(): Promise<string> {
  const userId = `operator-${randomUUID()}`;
  await api.operator(userId);
  return userId;
}

describe("every route that changes something or shows a tenant's data", () => {
  test("is in testing/route-cases.ts, and nothing else is", () => {
    const routes = closedRoutes().filter((route) => !isBoard(route) && !route.startsWith("HEAD "));
    expect(routes.length).toBeGreaterThan(25);
    expect(Object.keys(ROUTE_CASES).toSorted()).toEqual(routes.toSorted());
  });

  test.each(
    Object.keys(ROUTE_CASES).flatMap((route) =>
      route.startsWith("GET ") && !route.endsWith("/events") ? [route, route.replace("GET", "HEAD")] : [route],
    ),
  )("leaves an entry: %s", async (route) => {
    const tenant = await api.tenant();
    const wanted = caseOf(route);
    if (wanted === undefined) throw new Error(`${route} has no case`);
    const user = wanted.by === "owner" ? tenant.owner : await newOperator();
    const request = await wanted.request((thing) => THINGS[thing](api, tenant));
    const before = await entriesBy(user);
    const response = await api.call(Method.parse(route.split(" ")[0]), request.path, { user, ...request });
    expect(response.statusCode, response.body).toBeLessThan(300);
    const added = (await entriesBy(user)).slice(before.length);
    expect(added).toMatchObject([{ action: wanted.audit, ip: "127.0.0.1" }]);
  });

  test("the board: what changes a queue is noted before it acts, what looks at it once a minute", async () => {
    const routes = closedRoutes().filter(isBoard);
    expect(routes.length).toBeGreaterThan(20);
    for (const route of routes) {
      const [method = "", url = ""] = route.split(" ");
      const user = await newOperator();
      const path = url.replaceAll(/:queueName/g, "backups").replaceAll(/:\w+|\*/g, "1");
      const response = await api.call(Method.parse(method), path, {
        user,
        ...(method === "GET" || method === "HEAD" ? {} : { body: {} }),
      });
      const { items } = await listAuditEntries(api.db.system, null, { userId: user });
      if (method === "GET" || method === "HEAD") {
        expect([route, items.length]).toEqual([route, response.statusCode < 400 ? 1 : 0]);
      } else {
        expect(items, route).toMatchObject([{ action: "queue.change", after: { route } }]);
      }
    }
  });

  test("all of it is one whole log in the end", async () => {
    const { entries, broken } = await verifyAuditLog(api.db);
    expect([entries > 50, broken]).toEqual([true, []]);
  });
});

describe("reads", () => {
  const backups = (tenant: TestTenant, user = tenant.owner) => api.call("GET", "/v1/backups", { user });
  const reads = async (tenant: TestTenant) =>
    (await listAuditEntries(api.db.system, tenant.id, { action: "backup.read" })).items;

  test("of the same thing by the same user are one entry a minute, and those of anything else are not", async () => {
    const tenant = await api.tenant();
    const backup = await THINGS.backup(api, tenant);
    await api.member(tenant.id, "ann", "viewer");
    await Promise.all(Array.from({ length: 10 }, () => backups(tenant)));
    expect(await reads(tenant)).toMatchObject([{ after: { route: "GET /v1/backups" } }]);
    await backups(tenant, "ann");
    await api.call("GET", `/v1/backups/${backup}`, { user: "ann" });
    expect((await reads(tenant)).map(({ userId, runId }) => [userId, runId])).toEqual([
      ["ann", backup],
      ["ann", null],
      [tenant.owner, null],
    ]);
  });

  test("that show nothing leave nothing", async () => {
    const tenant = await api.tenant();
    expect((await api.call("GET", `/v1/backups/${randomUUID()}`, { user: tenant.owner })).statusCode).toBe(404);
    expect(await reads(tenant)).toEqual([]);
  });

  test("of a tenant by an operator are in that tenant's log", async () => {
    const tenant = await api.tenant();
    await api.call("GET", `/v1/tenants/${tenant.id}`, { user: "olga" });
    await api.call("GET", `/v1/tenants/${tenant.id}/members`, { user: "olga" });
    await api.call("GET", `/v1/audit-log?tenantId=${tenant.id}`, { user: "olga" });
    const { items } = await listAuditEntries(api.db.system, tenant.id, { userId: "olga" });
    expect(items.map(({ action }) => action)).toEqual(["audit.read", "tenant.read", "tenant.read"]);
  });

  test("are answered without data when they can't be noted", async () => {
    const tenant = await api.tenant();
    const backup = await THINGS.backup(api, tenant);
    const { query } = api.db.system;
    const failing: typeof query = (statement) =>
      statement.text.includes("INSERT INTO audit_log") ? Promise.reject(new Error("no space left")) : query(statement);
    Object.assign(api.db.system, { query: failing });
    const refused = await backups(tenant).finally(() => Object.assign(api.db.system, { query }));
    expect([refused.statusCode, refused.json().code]).toEqual([500, "internal"]);
    expect(refused.body).not.toContain(backup);
    expect((await backups(tenant)).statusCode).toBe(200);
    expect(await reads(tenant)).toHaveLength(1);
  });
});
