import { insertApiKey, withTenant } from "@rowback/db";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { ROUTE_CASES } from "../testing/route-cases.ts";
import { startTestApi, type TestApi, type TestTenant } from "../testing/test-api.ts";
import { THINGS } from "../testing/things.ts";
import { newApiKey } from "./api-key.ts";
import { KEY_SCOPES } from "./permissions.ts";

// Who may do what, written by hand: no cell comes from permissions.ts. A route that is missing here fails the first test.
// `key` is an API key of the owner with every scope that a key can have. A cell is the status, or `yes`: what was asked for is
// done (2xx). `**` stands for the routes of a tool that is mounted there; a `yes` to one of those is any answer that does not
// turn the caller away.
const TABLE = `
                                      | nobody  stranger  viewer  member  admin  owner  operator  key
GET    /healthz                       | yes     yes       yes     yes     yes    yes    yes       yes
GET    /readyz                        | yes     yes       yes     yes     yes    yes    yes       yes
GET    /metrics                       | yes     yes       yes     yes     yes    yes    yes       yes
GET    /openapi.json                  | yes     yes       yes     yes     yes    yes    yes       yes
GET    /docs/**                       | yes     yes       yes     yes     yes    yes    yes       yes

POST   /v1/backups                    | 401     403       403     yes     yes    yes    403       yes
GET    /v1/backups                    | 401     403       yes     yes     yes    yes    403       yes
GET    /v1/backups/:id                | 401     403       yes     yes     yes    yes    403       yes
DELETE /v1/backups/:id                | 401     403       403     403     yes    yes    403       yes
POST   /v1/backups/:id/undelete       | 401     403       403     403     yes    yes    403       yes
POST   /v1/backups/:id/cancel         | 401     403       403     yes     yes    yes    403       yes
POST   /v1/backups/:id/verify         | 401     403       403     yes     yes    yes    403       yes

GET    /v1/runs/:id                   | 401     403       yes     yes     yes    yes    404       yes
POST   /v1/runs/:id/cancel            | 401     403       403     yes     yes    yes    404       yes
GET    /v1/runs/:id/events            | 401     403       yes     yes     yes    yes    404       yes

POST   /v1/restores/preview           | 401     403       403     yes     yes    yes    403       yes
POST   /v1/restores                   | 401     403       403     403     yes    yes    403       yes
GET    /v1/restores                   | 401     403       yes     yes     yes    yes    403       yes
GET    /v1/restores/:id               | 401     403       yes     yes     yes    yes    403       yes
POST   /v1/restores/:id/undo          | 401     403       403     403     yes    yes    403       yes
POST   /v1/restores/:id/cancel        | 401     403       403     yes     yes    yes    403       yes
POST   /v1/restores/:id/approve       | 401     403       403     403     yes    yes    403       403
POST   /v1/restores/:id/reject        | 401     403       403     403     yes    yes    403       403

GET    /v1/recovery-window            | 401     403       yes     yes     yes    yes    403       yes
POST   /v1/restore-points             | 401     403       403     yes     yes    yes    403       yes
GET    /v1/restore-points             | 401     403       yes     yes     yes    yes    403       yes
GET    /v1/history                    | 401     403       403     yes     yes    yes    403       yes

POST   /v1/sources                    | 401     403       403     403     403    403    yes       403
GET    /v1/sources                    | 401     403       403     403     403    403    yes       403
GET    /v1/sources/:id                | 401     403       403     403     403    403    yes       403
PATCH  /v1/sources/:id                | 401     403       403     403     403    403    yes       403
DELETE /v1/sources/:id                | 401     403       403     403     403    403    yes       403
POST   /v1/sources/:id/discovery      | 401     403       403     403     403    403    yes       403
GET    /v1/sources/:id/discovery      | 401     403       403     403     403    403    yes       403
POST   /v1/sources/:id/capture        | 401     403       403     403     403    403    yes       403
GET    /v1/sources/:id/capture        | 401     403       403     403     403    403    yes       403
DELETE /v1/sources/:id/capture        | 401     403       403     403     403    403    yes       403

POST   /v1/tenants                    | 401     403       403     403     403    403    yes       403
GET    /v1/tenants                    | 401     yes       yes     yes     yes    yes    yes       yes
GET    /v1/tenants/:id                | 401     404       yes     yes     yes    yes    yes       yes
GET    /v1/tenants/:id/members        | 401     403       403     403     403    403    yes       403
POST   /v1/tenants/:id/members        | 401     403       403     403     403    403    yes       403
DELETE /v1/tenants/:id/members/:userId| 401     403       403     403     403    403    yes       403
POST   /v1/tenants/:id/erase          | 401     403       403     403     403    403    yes       403
GET    /v1/tenants/:id/erasure        | 401     403       403     403     403    403    yes       403
GET    /v1/tenants/:id/settings       | 401     403       403     403     403    403    yes       403
PATCH  /v1/tenants/:id/settings       | 401     403       403     403     403    403    yes       403

GET    /v1/settings                   | 401     403       yes     yes     yes    yes    403       yes
PATCH  /v1/settings                   | 401     403       403     403     yes    yes    403       403

POST   /v1/api-keys                   | 401     403       403     yes     yes    yes    403       403
GET    /v1/api-keys                   | 401     403       403     yes     yes    yes    403       403
DELETE /v1/api-keys/:id               | 401     403       403     404     yes    yes    403       403

GET    /v1/audit-log                  | 401     403       403     403     yes    yes    yes       403

GET    /admin/session                 | yes     yes       yes     yes     yes    yes    yes       yes
POST   /admin/session                 | 403     401       401     401     401    401    401       401
GET    /admin/queues/**               | 401     403       403     403     403    403    yes       403
PUT    /admin/queues/**               | 401     403       403     403     403    403    yes       403
POST   /admin/queues/**               | 401     403       403     403     403    403    yes       403
PATCH  /admin/queues/**               | 401     403       403     403     403    403    yes       403
`;

const Role = z.enum(["nobody", "stranger", "viewer", "member", "admin", "owner", "operator", "key"]);
type Role = z.infer<typeof Role>;
const Cell = z.enum(["yes", "401", "403", "404"]);
const Method = z.enum(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);

interface Row {
  readonly method: z.infer<typeof Method>;
  readonly url: string;
  readonly expected: ReadonlyMap<Role, z.infer<typeof Cell>>;
}

const words = (text: string | undefined): string[] => (text ?? "").trim().split(/ +/);
const [header, ...lines] = TABLE.split("\n").filter((line) => line.trim() !== "");
const ROLES = words(header?.split("|")[1]).map((name) => Role.parse(name));
const ROWS: readonly Row[] = lines.map((line) => {
  const [route, cells] = line.split("|").map(words);
  if (cells?.length !== ROLES.length) throw new Error(`a cell too few or too many: ${line}`);
  const expected = new Map(ROLES.map((role, index) => [role, Cell.parse(cells[index])]));
  return { method: Method.parse(route?.[0]), url: z.string().parse(route?.[1]), expected };
});

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

/** Every registered route; a HEAD is its GET without the body, and CORS answers an OPTIONS. */
function registered(): { method: string; url: string }[] {
  return api.app
    .accessTable()
    .flatMap(({ methods, url }) => methods.map((method) => ({ method, url })))
    .filter(({ method }) => method !== "HEAD" && method !== "OPTIONS");
}

function rowsOf(method: string, url: string): Row[] {
  return ROWS.filter(
    (row) => row.method === method && (row.url.endsWith("**") ? url.startsWith(row.url.slice(0, -2)) : row.url === url),
  );
}

/** A tenant with somebody in each role, and the headers that each comes with. */
async function people(): Promise<{ tenant: TestTenant; headersOf: (role: Role) => Record<string, string> }> {
  const tenant = await api.tenant();
  for (const role of ["admin", "member", "viewer"] as const) await api.member(tenant.id, `${role} ${tenant.id}`, role);
  const key = await keyOf(tenant, KEY_SCOPES);
  const token = (user: string): Record<string, string> => ({ authorization: `Bearer ${api.token(user)}` });
  return {
    tenant,
    headersOf: (role) => {
      switch (role) {
        case "nobody":
          return {};
        case "owner":
          return token(tenant.owner);
        case "operator":
          return token("olga");
        case "key":
          return { authorization: `Bearer ${key}` };
        default:
          return token(`${role} ${tenant.id}`);
      }
    },
  };
}

async function keyOf(tenant: TestTenant, scopes: readonly string[]): Promise<string> {
  const { text, prefix, secretSha256 } = newApiKey();
  const expiresAt = new Date(Date.now() + 3_600_000);
  await withTenant(api.db, tenant.id, (client) =>
    insertApiKey(client, { name: "all", prefix, secretSha256, scopes, createdBy: tenant.owner, expiresAt }),
  );
  return text;
}

/** What came of it, in the words of the table. */
function cellOf(status: number, expected: string | undefined, isMounted: boolean): string {
  const isYes = isMounted ? ![401, 403].includes(status) : status < 300;
  return expected === "yes" && isYes ? "yes" : String(status);
}

describe("who may do what", () => {
  test("is written down for every registered route, once, and for no other", () => {
    for (const { method, url } of registered()) {
      expect(rowsOf(method, url).length, `rows for ${method} ${url} in route-access.integration.test.ts`).toBe(1);
    }
    for (const { method, url } of ROWS) {
      const routes = registered().filter((route) => rowsOf(route.method, route.url).some((row) => row.url === url));
      expect(routes.length, `routes for the row ${method} ${url}`).toBeGreaterThan(0);
    }
  });

  test("holds for HEAD as for GET", () => {
    const all = api.app.accessTable();
    const accessOf = (method: string, url: string): unknown =>
      all.find((route) => route.url === url && route.methods.includes(method))?.access;
    for (const { methods, url, access } of all) {
      if (methods.includes("HEAD"))
        expect([url, access]).toEqual([url, accessOf("GET", url) ?? accessOf("GET", `${url}/`)]);
    }
  });

  const exact = ROWS.filter(({ url }) => !url.endsWith("**"));
  test.each(exact.map((row) => [row.method, row.url, row] as const))("%s %s", async (method, url, { expected }) => {
    const wanted = ROUTE_CASES[`${method} ${url}`];
    if (wanted === undefined && url.startsWith("/v1"))
      throw new Error(`${method} ${url} has no case in route-cases.ts`);
    const makeWorld = async () => {
      const world = await people();
      const request = await wanted?.request((thing) => THINGS[thing](api, world.tenant));
      return { ...world, request: request ?? { path: url } };
    };
    const refusing = await makeWorld();
    const seen: [Role, string][] = [];
    for (const role of ROLES) {
      // A world of its own for whoever may: what one has done stands in the way of the next.
      const { headersOf, request } = expected.get(role) === "yes" ? await makeWorld() : refusing;
      const headers = { ...request.headers, ...headersOf(role) };
      const response = await api.call(method, request.path, { ...request, headers });
      seen.push([role, cellOf(response.statusCode, expected.get(role), false)]);
    }
    expect(seen).toEqual([...expected]);
  });

  test("holds for every page and deed of the tools that are mounted", async () => {
    const { headersOf } = await people();
    for (const { method, url } of registered()) {
      const row = rowsOf(method, url).find((found) => found.url.endsWith("**"));
      if (row === undefined) continue;
      const path = url.replaceAll(/:queueName/g, "backups").replaceAll(/:\w+|\*/g, "1");
      for (const role of ROLES) {
        const hasBody = row.method !== "GET";
        const response = await api.call(row.method, path, {
          headers: headersOf(role),
          ...(hasBody ? { body: {} } : {}),
        });
        const cell = cellOf(response.statusCode, row.expected.get(role), true);
        expect([method, url, role, cell]).toEqual([method, url, role, row.expected.get(role)]);
      }
    }
  });
});

describe("an API key", () => {
  const ID = crypto.randomUUID();
  const asRequested = (url: string): string => url.replaceAll(/:\w+/g, ID);

  test.each(KEY_SCOPES)("with %s alone is let in where that is asked for, and nowhere else", async (scope) => {
    const tenant = await api.tenant();
    const headers = { authorization: `Bearer ${await keyOf(tenant, [scope])}` };
    const open = new Set(["any-user", scope]);
    for (const { methods, url, access } of api.app.accessTable()) {
      if (access === "public" || url.startsWith("/admin/")) continue;
      for (const method of methods.map((name) => Method.parse(name))) {
        const body = ["GET", "HEAD", "DELETE"].includes(method) ? {} : { body: {} };
        const { statusCode } = await api.call(method, asRequested(url), { headers, ...body });
        const letIn = open.has(access) && !/\/(approve|reject)$/.test(url);
        expect([method, url, statusCode === 403]).toEqual([method, url, !letIn]);
      }
    }
  });
});
