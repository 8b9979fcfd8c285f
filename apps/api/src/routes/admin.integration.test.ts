import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApi, type TestApi, type TestTenant } from "../testing/test-api.ts";

const HOST = "rowback.example.com";
let api: TestApi;
let tenant: TestTenant;
let cookie: string;
beforeAll(async () => {
  api = await startTestApi();
  tenant = await api.tenant();
  const signedIn = await signIn(api.token("olga"), { origin: `https://${HOST}` });
  cookie = String(signedIn.headers["set-cookie"]).split(";")[0] ?? "";
});
afterAll(() => api.close());

const signIn = (token: string, headers: Record<string, string>) =>
  api.app.inject({
    method: "POST",
    url: "/admin/session",
    headers: { host: HOST, "content-type": "application/x-www-form-urlencoded", ...headers },
    payload: new URLSearchParams({ token }).toString(),
  });

const pause = (headers: Record<string, string>, action = "pause") =>
  api.app.inject({
    method: "PUT",
    url: `/admin/queues/api/queues/backups/${action}`,
    headers: { host: HOST, ...headers },
  });

async function isPaused(): Promise<boolean | undefined> {
  return api.deps.queues.queues.find(({ name }) => name === "backups")?.isPaused();
}

/** Every board route, with each method. */
function boardRoutes(): { method: "GET" | "PUT" | "POST" | "PATCH" | "HEAD"; url: string }[] {
  return api.app
    .accessTable()
    .filter(({ url }) => url.startsWith("/admin/queues"))
    .flatMap(({ methods, url }) =>
      methods.flatMap((method) =>
        (["GET", "PUT", "POST", "PATCH", "HEAD"] as const)
          .filter((known) => known === method)
          .map((known) => ({ method: known, url: url.replace(":queueName", "backups").replaceAll(/:\w+|\*/g, "1") })),
      ),
    );
}

describe("the board's routes", () => {
  test("are for operators, every one", async () => {
    expect(boardRoutes().length).toBeGreaterThan(30);
    for (const { method, url } of boardRoutes()) {
      const as = async (headers: Record<string, string>): Promise<number> =>
        (await api.app.inject({ method, url, headers })).statusCode;
      expect([method, url, await as({})]).toEqual([method, url, 401]);
      expect([method, url, await as({ authorization: `Bearer ${api.token(tenant.owner)}` })]).toEqual([
        method,
        url,
        403,
      ]);
      expect([method, url, await as({ cookie: "rowback_admin=b2xnYQ.9999999999.x" })]).toEqual([method, url, 401]);
    }
  });

  test("stop at once for one who is no operator any more, cookie or not", async () => {
    await api.operator("oscar");
    const signedIn = await signIn(api.token("oscar"), { origin: `https://${HOST}` });
    const headers = { cookie: String(signedIn.headers["set-cookie"]).split(";")[0] ?? "" };
    const ask = async () => (await api.app.inject({ url: "/admin/queues/api/queues", headers })).statusCode;
    expect(await ask()).toBe(200);
    await api.db.system.query({ text: "DELETE FROM operators WHERE user_id = 'oscar'" });
    expect(await ask()).toBe(403);
  });
});

describe("another site's page, with the operator's cookie", () => {
  test.each([
    ["says where it is from", { origin: "https://evil.example.com" }],
    ["is a sister domain", { origin: "https://other.example.com", "sec-fetch-site": "same-site" }],
    ["hides where it is from", { origin: "null" }],
    ["says nothing at all", {}],
    ["is another port", { origin: `https://${HOST}:8443` }],
    ["is cross-site by the browser's word", { "sec-fetch-site": "cross-site", origin: `https://${HOST}` }],
    ["was typed or bookmarked", { "sec-fetch-site": "none" }],
  ])("changes nothing when it %s", async (_, headers: Record<string, string>) => {
    const response = await pause({ ...headers, cookie });
    expect([response.statusCode, response.json().code, await isPaused()]).toEqual([403, "forbidden", false]);
    expect((await signIn(api.token("olga"), headers)).headers["set-cookie"]).toBeUndefined();
  });

  test("is refused on every route that changes something", async () => {
    const headers = { host: HOST, cookie, origin: "https://evil.example.com" };
    for (const { method, url } of boardRoutes().filter(({ method }) => method !== "GET" && method !== "HEAD")) {
      const response = await api.app.inject({ method, url, headers });
      expect([method, url, response.statusCode]).toEqual([method, url, 403]);
    }
  });

  test("can't put the board into a frame, and the cookie is not sent along", async () => {
    const page = await api.app.inject({ url: "/admin/queues/", headers: { cookie } });
    expect(page.headers["content-security-policy"]).toContain("frame-ancestors 'self'");
    const signedIn = await signIn(api.token("olga"), { origin: `https://${HOST}` });
    expect(signedIn.headers["set-cookie"]).toMatch(/; Path=\/admin; .*HttpOnly; SameSite=Strict/);
  });
});

test("the board's own pages, and a program with a token, do change something", async () => {
  const ownPages: Record<string, string>[] = [
    { cookie, "sec-fetch-site": "same-origin", origin: `https://${HOST}` },
    { cookie, origin: `http://${HOST}` },
    { authorization: `Bearer ${api.token("olga")}` },
  ];
  for (const headers of ownPages) {
    expect((await pause(headers)).statusCode).toBe(200);
    expect(await isPaused()).toBe(true);
    expect((await pause(headers, "resume")).statusCode).toBe(200);
    expect(await isPaused()).toBe(false);
  }
});

test("a failing board says nothing of what failed", async () => {
  const queue = api.deps.queues.queues[0];
  if (queue === undefined) throw new Error("no queue");
  const { getJobCounts } = queue;
  Object.assign(queue, { getJobCounts: () => Promise.reject(new TypeError("secret detail of /src/file.ts")) });
  const response = await api.app
    .inject({ url: "/admin/queues/api/queues", headers: { cookie } })
    .finally(() => Object.assign(queue, { getJobCounts }));
  expect(response.statusCode).toBe(500);
  expect(response.body).not.toMatch(/secret|TypeError|file\.ts|stack/);
});
