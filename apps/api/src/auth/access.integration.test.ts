import { randomUUID } from "node:crypto";
import Fastify from "fastify";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { buildApp } from "../app.ts";
import { signedToken, startTestApi, type TestApi, type TestTenant } from "../testing/test-api.ts";
import { issuedToken, issuerKey, startTestIssuer } from "../testing/test-issuer.ts";
import { accessTable } from "./access-table.ts";
import type { Access } from "./caller.ts";
import type { TokenSettings } from "./token-settings.ts";

let api: TestApi;
let tenant: TestTenant;
let other: TestTenant;
beforeAll(async () => {
  api = await startTestApi();
  [tenant, other] = [await api.tenant(), await api.tenant()];
  for (const role of ["admin", "member", "viewer"] as const) await api.member(tenant.id, role, role);
});
afterAll(() => api.close());

const ID = randomUUID();
const HTTP_METHODS = z.enum(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);
const PUBLIC = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/admin/session", "*"];

/** Every route but the public ones, once per method, with ids filled in. */
function closedRoutes(): { method: z.infer<typeof HTTP_METHODS>; url: string; access: Access }[] {
  return api.app
    .accessTable()
    .filter(({ access }) => access !== "public")
    .flatMap(({ methods, url, access }) =>
      methods.map((method) => ({ method: HTTP_METHODS.parse(method), url: url.replaceAll(/:\w+|\*/g, ID), access })),
    );
}

describe("every registered route", () => {
  test("states who may use it, and only the known ones are public", () => {
    const table = api.app.accessTable();
    expect(table.length).toBeGreaterThan(40);
    const open = table.filter(({ access, url }) => access === "public" && !url.startsWith("/docs"));
    expect([...new Set(open.map(({ url }) => url))].toSorted()).toEqual(PUBLIC.toSorted());
  });

  test("keeps the app from starting when it states nothing", async () => {
    const app = Fastify();
    await app.register(accessTable);
    app.get("/forgotten", async () => "open to all");
    await expect(app.ready()).rejects.toThrow("GET /forgotten does not say who may use it");
  });

  test("refuses a request without a token, before it looks at anything else", async () => {
    for (const { method, url } of closedRoutes()) {
      const headers = { "content-type": "application/json" };
      const response = await api.app.inject({ method, url, headers, payload: "{broken" });
      expect([method, url, response.statusCode]).toEqual([method, url, 401]);
      expect(response.headers["www-authenticate"]).toBe("Bearer");
    }
  });

  test("refuses a stranger who has a valid token", async () => {
    for (const { method, url } of closedRoutes().filter(({ access }) => access !== "any-user")) {
      const headers = { authorization: `Bearer ${api.token("stranger")}` };
      const response = await api.app.inject({ method, url, headers });
      expect([method, url, response.statusCode]).toEqual([method, url, 403]);
    }
  });
});

describe("roles", () => {
  test("an operator is nobody's member by that", async () => {
    expect((await api.call("GET", "/v1/backups", { user: "olga" })).statusCode).toBe(403);
    const named = await api.call("GET", "/v1/backups", { user: "olga", headers: { "x-tenant-id": tenant.id } });
    expect(named.statusCode).toBe(404);
    expect((await api.call("GET", "/v1/sources", { user: "olga" })).statusCode).toBe(200);
  });

  test("the tenant comes from user_tenants, whatever the token says of it", async () => {
    const claims = {
      tenant_id: other.id,
      tenantId: other.id,
      role: "owner",
      user_metadata: { tenant_id: other.id },
      operator: true,
    };
    const authorization = `Bearer ${api.token(tenant.owner, claims)}`;
    const mine = await api.call("POST", "/v1/backups", { headers: { authorization }, body: {} });
    expect(mine.json()).toMatchObject({ tenantId: tenant.id });
    expect((await api.call("GET", "/v1/sources", { headers: { authorization } })).statusCode).toBe(403);
  });

  test("a member of several tenants names one; another's is as unknown as one that does not exist", async () => {
    await api.member(tenant.id, "both", "member");
    await api.member(other.id, "both", "viewer");
    const ask = (headers: Record<string, string>) =>
      api.call("POST", "/v1/backups", { user: "both", headers, body: {} });
    const unnamed = await ask({});
    expect([unnamed.statusCode, unnamed.json().errors]).toEqual([
      400,
      [expect.objectContaining({ path: "X-Tenant-Id" })],
    ]);
    expect((await ask({ "x-tenant-id": tenant.id.toUpperCase() })).json()).toMatchObject({ tenantId: tenant.id });
    expect((await ask({ "x-tenant-id": other.id })).statusCode).toBe(403);
    expect((await ask({ "x-tenant-id": "'; DROP TABLE runs; --" })).statusCode).toBe(400);
    const third = await api.tenant();
    const [foreign, unknown] = [await ask({ "x-tenant-id": third.id }), await ask({ "x-tenant-id": randomUUID() })];
    expect(foreign.statusCode).toBe(404);
    expect({ ...foreign.json(), requestId: "" }).toEqual({ ...unknown.json(), requestId: "" });
  });

  test("a membership that ends, ends at once", async () => {
    await api.member(tenant.id, "leaver", "viewer");
    expect((await api.call("GET", "/v1/backups", { user: "leaver" })).statusCode).toBe(200);
    expect((await api.call("DELETE", `/v1/tenants/${tenant.id}/members/leaver`, { user: "olga" })).statusCode).toBe(
      204,
    );
    expect((await api.call("GET", "/v1/backups", { user: "leaver" })).statusCode).toBe(403);
  });
});

describe("tokens", () => {
  const soon = Math.floor(Date.now() / 1000) + 600;
  const ask = (authorization?: string) =>
    api.call("GET", "/v1/backups", { headers: authorization === undefined ? {} : { authorization } });

  test("whatever is wrong with one, it is refused in the same words", async () => {
    const { tokens } = api.deps.settings;
    const bare = await ask();
    const good = signedToken(tokens, { sub: tenant.owner, exp: soon });
    for (const authorization of [
      `Bearer ${signedToken(tokens, { sub: tenant.owner, exp: soon - 1200 })}`,
      `Bearer ${signedToken(tokens, { sub: tenant.owner, exp: soon }, { alg: "none" })}`,
      `Bearer ${good.slice(0, -4)}AAAA`,
      "Bearer nonsense",
      "Bearer ",
      good,
      `Basic ${good}`,
    ]) {
      const response = await ask(authorization);
      expect([authorization, response.statusCode]).toEqual([authorization, 401]);
      expect({ ...response.json(), requestId: "" }).toEqual({ ...bare.json(), requestId: "" });
    }
    expect((await ask(`bearer ${good}`)).statusCode).toBe(200);
  });

  test("of an issuer are let in by its keys; while it was never reached, the answer is 503", async () => {
    const issuer = await startTestIssuer([issuerKey("ES256")]);
    const [key] = issuer.keys;
    if (key === undefined) throw new Error("the issuer has no key");
    const tokens: TokenSettings = {
      kind: "jwks",
      jwksUrl: issuer.jwksUrl,
      issuer: "https://id.example/",
      audience: ["rowback"],
      clockToleranceSeconds: 0,
      cacheSeconds: 600,
    };
    const claims = { sub: tenant.owner, iss: "https://id.example/", aud: "rowback", exp: soon };
    const statusOf = async (token: string, jwksUrl = issuer.jwksUrl): Promise<number> => {
      const app = await buildApp({ ...api.deps, settings: { ...api.deps.settings, tokens: { ...tokens, jwksUrl } } });
      try {
        const headers = { authorization: `Bearer ${token}` };
        return (await app.inject({ url: "/v1/backups", headers })).statusCode;
      } finally {
        await app.close();
      }
    };
    try {
      expect(await statusOf(issuedToken(key, claims))).toBe(200);
      expect(await statusOf(issuedToken(key, { ...claims, aud: "another" }))).toBe(401);
      expect(await statusOf(api.token(tenant.owner))).toBe(401);
      expect(await statusOf(issuedToken(key, claims), "http://127.0.0.1:1/")).toBe(503);
    } finally {
      await issuer.close();
    }
  });
});
