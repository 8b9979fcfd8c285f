import { Writable } from "node:stream";
import { openControlDatabase, reportBreakers } from "@rowback/db";
import { createProducer, openQueues } from "@rowback/jobs";
import { openStore } from "@rowback/storage";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { buildApp } from "./app.ts";
import { createLogger } from "./logger.ts";
import { startTestApi, type TestApi, type TestTenant } from "./testing/test-api.ts";

let api: TestApi;
let tenant: TestTenant;
const logged: string[] = [];
beforeAll(async () => {
  const sink = new Writable({
    write(chunk, _encoding, done) {
      logged.push(String(chunk));
      done();
    },
  });
  api = await startTestApi((deps) => ({ ...deps, log: createLogger("trace", sink) }));
  tenant = await api.tenant();
});
afterAll(() => api.close());

describe("is it alive", () => {
  test("/healthz and /readyz say yes, with each dependency", async () => {
    expect((await api.call("GET", "/healthz")).json()).toEqual({ alive: true });
    const ready = await api.call("GET", "/readyz");
    expect([ready.statusCode, ready.json().ready]).toEqual([200, true]);
    expect(Object.keys(ready.json().dependencies)).toEqual(["database", "redis", "store"]);
    const breakers = [
      { dependency: "store", state: "open" } as const,
      { dependency: "source:1", state: "open" } as const,
    ];
    await reportBreakers(api.db.system, { worker: "w", breakers, ttlMs: 60_000 });
    const told = await api.call("GET", "/readyz");
    expect([told.statusCode, told.json().breakers]).toEqual([
      200,
      { workers: 1, store: "open", sources: { known: 1, unwell: 1 } },
    ]);
    expect(told.body).not.toContain("source:1");
  });

  test("with nothing behind it, /readyz names what is down within seconds, requests answer 503, and /metrics still works", async () => {
    // Port 1 of this machine: nobody listens there.
    const gone = { redisUrl: "redis://127.0.0.1:1", prefix: "gone" };
    const db = openControlDatabase({
      url: "postgres://nobody@127.0.0.1:1/none",
      maxConnections: 2,
      applicationName: "test",
    });
    const [producer, queues] = [createProducer(gone), openQueues(gone)];
    const store = openStore({ driver: "filesystem", root: "/proc/rowback-can-not-write-here" });
    const app = await buildApp({ ...api.deps, db, producer, queues, store });
    try {
      const began = performance.now();
      const ready = await app.inject("/readyz");
      expect(performance.now() - began).toBeLessThan(5_000);
      expect(ready.statusCode).toBe(503);
      expect(ready.json()).toMatchObject({
        ready: false,
        breakers: null,
        dependencies: { database: { reachable: false }, redis: { reachable: false }, store: { reachable: false } },
      });
      expect((await app.inject("/healthz")).statusCode).toBe(200);
      const list = await app.inject({ url: "/v1/backups", headers: { authorization: `Bearer ${api.token("u")}` } });
      expect([list.statusCode, list.json().code, list.headers["retry-after"]]).toEqual([503, "unavailable", "5"]);
      expect(list.body).not.toContain("127.0.0.1");
      expect((await app.inject("/metrics")).body).toContain("rowback_queue_depths_known 0");
    } finally {
      await app.close();
      await Promise.allSettled([producer.close(), queues.close(), store.close(), db.close()]);
    }
  });

  test("/metrics has durations by route pattern, queue depths, and no id", async () => {
    await api.call("POST", "/v1/backups", { user: tenant.owner, body: {} });
    await api.call("GET", `/v1/backups/${tenant.id}`, { user: tenant.owner });
    await api.call("GET", "/no/such/route");
    const { body } = await api.call("GET", "/metrics");
    expect(body).toContain(
      'rowback_http_request_duration_seconds_count{method="GET",route="/v1/backups/:id",status="404"} 1',
    );
    expect(body).toContain('route="unknown",status="404"');
    expect(body).toMatch(/rowback_queue_jobs\{queue="backups",state="waiting"\} 1/);
    expect(body).not.toContain(tenant.id);
  });
});

const Document = z.object({
  openapi: z.string(),
  paths: z.record(
    z.string(),
    z.record(z.string(), z.looseObject({ summary: z.string(), responses: z.record(z.string(), z.unknown()) })),
  ),
  components: z.object({
    schemas: z.record(z.string(), z.unknown()),
    securitySchemes: z.record(z.string(), z.unknown()),
  }),
});

describe("the formal description", () => {
  test("has every route of the API, with its problems and its schemas", async () => {
    const response = await api.call("GET", "/openapi.json");
    const document = Document.parse(response.json());
    const described = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const registered = api.app
      .accessTable()
      .filter(({ url }) => url.startsWith("/v1/"))
      .flatMap(({ methods, url }) =>
        methods.filter((method) => method !== "HEAD").map((method) => `${method} ${url.replaceAll(/:(\w+)/g, "{$1}")}`),
      );
    expect(described.filter((route) => route.includes("/v1/")).toSorted()).toEqual(registered.toSorted());
    for (const [path, methods] of Object.entries(document.paths).filter(([path]) => path.startsWith("/v1/"))) {
      for (const [method, operation] of Object.entries(methods)) {
        expect([path, method, Object.keys(operation.responses)]).toEqual([
          path,
          method,
          expect.arrayContaining(["4XX", "5XX"]),
        ]);
      }
    }
    expect(Object.keys(document.components.schemas)).toEqual(
      expect.arrayContaining(["Backup", "Problem", "Restore", "Run", "Source"]),
    );
    const references = [...response.body.matchAll(/"#\/components\/schemas\/([^"]+)"/g)].map(([, name]) => name ?? "");
    expect(references).toEqual(expect.arrayContaining(["RestorePlan", "RestoreResult", "BackupResult"]));
    for (const name of references) expect(document.components.schemas).toHaveProperty([name]);
    expect(document.components.schemas["RestorePlan"]).toMatchObject({ properties: { digest: { type: "string" } } });
    expect(document.components.securitySchemes).toHaveProperty("bearer");
    expect(response.body).not.toContain("/admin/");
  });

  test("can be read by people at /docs, under a strict content policy", async () => {
    const page = await api.call("GET", "/docs");
    expect([page.statusCode, page.headers["content-type"]]).toEqual([200, expect.stringContaining("text/html")]);
    expect(page.headers["content-security-policy"]).toContain("script-src 'self'");
    expect((await api.call("GET", "/docs/static/swagger-ui-bundle.js")).statusCode).toBe(200);
  });
});

describe("the door", () => {
  test("pages of the allowed origins may call it, others may not", async () => {
    const preflight = (origin: string) =>
      api.app.inject({
        method: "OPTIONS",
        url: "/v1/backups",
        headers: { origin, "access-control-request-method": "POST" },
      });
    expect((await preflight("https://console.example.com")).headers["access-control-allow-origin"]).toBe(
      "https://console.example.com",
    );
    expect((await preflight("https://evil.example.com")).headers["access-control-allow-origin"]).not.toBe(
      "https://evil.example.com",
    );
  });

  test("the queues' board is for operators: by token, or by the cookie that a token is exchanged for", async () => {
    const board = (headers: Record<string, string>) => api.app.inject({ url: "/admin/queues/", headers });
    const sent = await board({ accept: "text/html" });
    expect([sent.statusCode, sent.headers["location"]]).toEqual([303, "/admin/session"]);
    expect((await board({})).statusCode).toBe(401);
    expect((await board({ authorization: `Bearer ${api.token(tenant.owner)}` })).statusCode).toBe(403);
    expect((await board({ authorization: `Bearer ${api.token("olga")}` })).statusCode).toBe(200);

    const signIn = (token: string) =>
      api.app.inject({
        method: "POST",
        url: "/admin/session",
        headers: {
          "content-type": "application/x-www-form-urlencoded",
          host: "rowback.example.com",
          origin: "https://rowback.example.com",
        },
        payload: new URLSearchParams({ token }).toString(),
      });
    expect((await signIn("nonsense")).statusCode).toBe(401);
    expect((await signIn(api.token(tenant.owner))).statusCode).toBe(403);
    const signedIn = await signIn(api.token("olga"));
    expect([signedIn.statusCode, signedIn.headers["location"]]).toEqual([303, "/admin/queues"]);
    const cookie = String(signedIn.headers["set-cookie"]);
    expect(cookie).toMatch(/HttpOnly; SameSite=Strict/);
    const value = cookie.split(";")[0] ?? "";
    expect((await board({ cookie: value })).statusCode).toBe(200);
    expect(
      (await api.app.inject({ url: "/admin/queues/api/queues", headers: { cookie: value } })).json().queues,
    ).toHaveLength(3);
    expect((await board({ cookie: `${value}x` })).statusCode).toBe(401);
    // The cookie opens the board and nothing else.
    expect((await api.app.inject({ url: "/v1/sources", headers: { cookie: value } })).statusCode).toBe(401);
  });

  test("no token, cookie or connection string reaches the log", async () => {
    const secret = "postgres://app:hunter2-very-secret@db.example.com/app";
    const token = api.token("olga");
    logged.length = 0;
    const body = { name: "logged", connection: secret, tenancy: { mode: "column", column: "t" } };
    const created = await api.app.inject({
      method: "POST",
      url: `/v1/sources?token=${token}`,
      headers: { authorization: `Bearer ${token}`, cookie: `rowback_admin=${token}` },
      payload: body,
    });
    expect(created.statusCode).toBe(201);
    await api.app.inject({
      method: "POST",
      url: "/v1/sources",
      headers: { authorization: `Bearer ${token}` },
      payload: { ...body, connection: `${secret}\0` },
    });
    api.deps.log.info({ connection: secret, request: { headers: { authorization: token } } }, "by mistake");
    expect(logged.length).toBeGreaterThan(3);
    expect(logged.join("")).not.toContain("hunter2");
    expect(logged.join("")).not.toContain(token);
  });
});
