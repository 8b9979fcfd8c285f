import { randomUUID } from "node:crypto";
import { updateTenantSettings } from "@rowback/db";
import { connectLimiter } from "@rowback/jobs";
import { startTcpProxy } from "@rowback/local-services";
import { testRedis } from "@rowback/local-services/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { createRateLimits } from "./rate-limits.ts";
import { finishBackup, runOf, startTestApi, type TestApi, type TestTenant } from "./testing/test-api.ts";

const READS = 5;
const WRITES = 50;
const FAILURES = 4;
const SETTINGS = { readsPerMinute: READS, writesPerMinute: WRITES, failuresPerMinute: FAILURES };

/** Two processes' limits on the same Redis: the app's, and one more's. */
const redis = testRedis();
const proxy = await startTcpProxy({ port: Number(new URL(redis.url).port) });
const connection = connectLimiter(proxy.through(redis.url), () => {});
const limits = createRateLimits(connection, redis.prefix, SETTINGS);

let api: TestApi;
let tenant: TestTenant;
beforeAll(async () => {
  api = await startTestApi((deps) => ({ ...deps, limits }));
});
afterAll(async () => {
  await api.close();
  connection.disconnect();
  await proxy.close();
});
beforeEach(async () => {
  tenant = await api.tenant();
});

const backUp = (user = tenant.owner, headers: Record<string, string> = {}, body: object = {}) =>
  api.call("POST", "/v1/backups", { user, headers, body });

describe("requests", () => {
  test("are counted by user, tenant and route; one too many is 429 and says when to come again", async () => {
    const list = () => api.call("GET", "/v1/backups", { user: tenant.owner });
    for (let left = READS - 1; left >= 0; left -= 1) {
      const { statusCode, headers } = await list();
      expect([statusCode, headers["ratelimit-policy"]]).toEqual([200, `"reads";q=${READS};w=60`]);
      expect(headers["ratelimit"]).toMatch(new RegExp(`^"reads";r=${left};t=([1-9]|[1-5][0-9]|60)$`));
      expect(headers["retry-after"]).toBeUndefined();
    }
    const refused = await list();
    expect([refused.statusCode, refused.json().code]).toEqual([429, "rate_limited"]);
    expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
    expect(Number(refused.headers["retry-after"])).toBeLessThanOrEqual(60);
    expect(refused.headers["ratelimit"]).toMatch(/^"reads";r=0;t=/);

    expect((await api.call("GET", "/v1/restores", { user: tenant.owner })).statusCode).toBe(200);
    await api.member(tenant.id, "another", "viewer");
    expect((await api.call("GET", "/v1/backups", { user: "another" })).statusCode).toBe(200);
    const elsewhere = await api.tenant({ owner: tenant.owner });
    const named = { "x-tenant-id": elsewhere.id };
    expect((await api.call("GET", "/v1/backups", { user: tenant.owner, headers: named })).statusCode).toBe(200);
  });

  test("are counted for all processes together", async () => {
    const other = connectLimiter(redis.url, () => {});
    onTestFinished(() => other.disconnect());
    await expect.poll(() => other.status).toBe("ready");
    const elsewhere = createRateLimits(other, redis.prefix, SETTINGS);
    for (let n = 0; n < READS; n += 1) await elsewhere.request("reads", `${tenant.owner}:${tenant.id}:GET /v1/backups`);
    expect((await api.call("GET", "/v1/backups", { user: tenant.owner })).statusCode).toBe(429);
  });

  test("of the machinery around are not", async () => {
    for (let n = 0; n <= READS; n += 1) expect((await api.call("GET", "/healthz")).statusCode).toBe(200);
  });
});

describe("backups", () => {
  test("ten an hour of one user for one tenant are the default; another user, or tenant, has ten of its own", async () => {
    for (let n = 0; n < 10; n += 1) expect((await backUp()).statusCode).toBe(202);
    const refused = await backUp();
    expect([refused.statusCode, refused.json()]).toMatchObject([429, { code: "rate_limited", tenantId: tenant.id }]);
    expect(refused.headers["ratelimit-policy"]).toBe(`"writes";q=${WRITES};w=60, "backups";q=10;w=3600`);
    expect(refused.headers["ratelimit"]).toMatch(/"backups";r=0;t=\d+$/);
    expect(Number(refused.headers["retry-after"])).toBeGreaterThan(3_500);
    const { rows } = await api.db.system.query({
      text: "SELECT count(*)::int AS made FROM runs WHERE tenant_id = $1",
      values: [tenant.id],
    });
    expect(rows).toEqual([{ made: 10 }]);
    await api.member(tenant.id, "bob", "member");
    expect((await backUp("bob")).statusCode).toBe(202);
  });

  test("the tenant's setting decides, from one request to the next", async () => {
    await updateTenantSettings(api.db.system, tenant.id, { backupsPerHour: 1 });
    expect([(await backUp()).statusCode, (await backUp()).statusCode]).toEqual([202, 429]);
    await updateTenantSettings(api.db.system, tenant.id, { backupsPerHour: 2 });
    expect([(await backUp()).statusCode, (await backUp()).statusCode]).toEqual([202, 429]);
  });

  test("a request that is sent again, or that asks for nonsense, is not counted", async () => {
    await updateTenantSettings(api.db.system, tenant.id, { backupsPerHour: 2 });
    const headers = { "idempotency-key": randomUUID() };
    const first = runOf(await backUp(tenant.owner, headers));
    for (let n = 0; n < 3; n += 1) expect(runOf(await backUp(tenant.owner, headers)).id).toBe(first.id);
    expect((await backUp(tenant.owner, {}, { tables: ["nowhere"] })).statusCode).toBe(400);
    expect([(await backUp()).statusCode, (await backUp()).statusCode]).toEqual([202, 429]);
    expect(runOf(await backUp(tenant.owner, headers)).id).toBe(first.id);
  });

  test("that would not fit the storage quota, by the size of the last, are refused before they begin", async () => {
    const { id } = runOf(await backUp());
    await finishBackup(api.db, id);
    await updateTenantSettings(api.db.system, tenant.id, { storageQuotaBytes: 20 });
    expect((await backUp()).statusCode).toBe(202);
    await updateTenantSettings(api.db.system, tenant.id, { storageQuotaBytes: 19 });
    const refused = await backUp();
    expect([refused.statusCode, refused.json()]).toMatchObject([507, { code: "quota_exceeded", tenantId: tenant.id }]);
    expect(refused.json().detail).toContain("10");
    // Of other tables there is no last size: the worker will see.
    expect((await backUp(tenant.owner, {}, { tables: ["orders"] })).statusCode).toBe(202);
    await updateTenantSettings(api.db.system, tenant.id, { storageQuotaBytes: 10 });
    expect((await backUp(tenant.owner, {}, { tables: ["orders"] })).statusCode).toBe(507);
  });
});

describe("requests without a valid token or key", () => {
  const from = (remoteAddress: string, headers: Record<string, string> = {}, url = "/v1/backups") =>
    api.app.inject({ method: "GET", url, remoteAddress, headers });
  const WRONG = [{}, { authorization: "Bearer nonsense" }, { authorization: `Bearer rbk_${"x".repeat(43)}` }];

  test("are counted by address, whatever they bring and ask; one too many is 429", async () => {
    for (let left = FAILURES - 1; left >= 0; left -= 1) {
      const { statusCode, headers } = await from(
        "198.51.100.7",
        WRONG[left % WRONG.length],
        `/v1/backups/${randomUUID()}`,
      );
      expect([statusCode, headers["ratelimit-policy"]]).toEqual([401, `"failures";q=${FAILURES};w=60`]);
      expect(headers["ratelimit"]).toMatch(new RegExp(`^"failures";r=${left};t=`));
    }
    for (const url of ["/v1/backups", "/v1/restores"]) {
      const refused = await from("198.51.100.7", {}, url);
      expect([refused.statusCode, refused.json().code]).toEqual([429, "rate_limited"]);
      expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
    }
    expect((await from("198.51.100.8")).statusCode).toBe(401);
  });

  test("keep nobody out who brings a valid one from the same address", async () => {
    for (let n = 0; n <= FAILURES; n += 1) await from("198.51.100.9");
    expect((await from("198.51.100.9")).statusCode).toBe(429);
    const headers = { authorization: `Bearer ${api.token(tenant.owner)}` };
    expect((await from("198.51.100.9", headers)).statusCode).toBe(200);
  });

  test("are counted for a whole IPv6 network, and the queues' sign-in among them", async () => {
    for (let n = 0; n < FAILURES; n += 1) expect((await from(`2001:db8:7:7::${n}`)).statusCode).toBe(401);
    const signIn = (remoteAddress: string) =>
      api.app.inject({
        method: "POST",
        url: "/admin/session",
        remoteAddress,
        headers: { "sec-fetch-site": "same-origin" },
        payload: { token: "guess" },
      });
    expect((await signIn("2001:db8:7:7:ffff::1")).statusCode).toBe(429);
    expect((await signIn("2001:db8:7:8::1")).statusCode).toBe(401);
  });
});

describe("without Redis", () => {
  test("this process counts requests by itself, and the control database counts backups", async () => {
    await updateTenantSettings(api.db.system, tenant.id, { backupsPerHour: 2 });
    expect((await backUp()).statusCode).toBe(202);
    proxy.cut();
    onTestFinished(async () => {
      proxy.restore();
      await expect.poll(() => connection.status, { timeout: 10_000 }).toBe("ready");
    });
    for (let n = 0; n < READS; n += 1)
      expect((await api.call("GET", "/v1/backups", { user: tenant.owner })).statusCode).toBe(200);
    expect((await api.call("GET", "/v1/backups", { user: tenant.owner })).statusCode).toBe(429);
    const strangers = { method: "GET", url: "/v1/backups", remoteAddress: "203.0.113.5" } as const;
    for (let n = 0; n < FAILURES; n += 1) expect((await api.app.inject(strangers)).statusCode).toBe(401);
    expect((await api.app.inject(strangers)).statusCode).toBe(429);
    expect([(await backUp()).statusCode, (await backUp()).statusCode]).toEqual([202, 429]);
  });
});
