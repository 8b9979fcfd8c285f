import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { type IdOf, ROUTE_CASES } from "./testing/route-cases.ts";
import { runOf, startTestApi, type TestApi, type TestTenant } from "./testing/test-api.ts";
import { THINGS } from "./testing/things.ts";

// Every route that creates a run, whichever those are: all routes that change something are tried.

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

const Method = z.enum(["POST", "PATCH", "DELETE"]);
const CHANGING = Object.keys(ROUTE_CASES).filter((route) => !route.startsWith("GET "));

/** Another request of the same user about the same tenant, or source, that is valid by itself. */
function otherRequest(route: string, { id, sourceId }: TestTenant): { method: "POST"; path: string; body?: object } {
  if (route.endsWith("/erase"))
    return { method: "POST", path: `/v1/tenants/${id}/erase`, body: { confirm: "another" } };
  if (route === "POST /v1/backups") return { method: "POST", path: "/v1/backups", body: { tables: ["items"] } };
  if (!route.includes("/sources/")) return { method: "POST", path: "/v1/backups", body: {} };
  const verb = route.endsWith("/discovery") ? "capture" : "discovery";
  return { method: "POST", path: `/v1/sources/${sourceId}/${verb}` };
}

async function countRuns(): Promise<number> {
  const { rows } = await api.db.system.query({ text: "SELECT count(*)::int AS runs FROM runs" });
  return z.tuple([z.object({ runs: z.int() })]).parse(rows)[0].runs;
}

interface Sending {
  readonly tenant: TestTenant;
  readonly statusCode: number;
  readonly created: boolean;
  /** The same request with this key. */
  again(key: string): ReturnType<TestApi["call"]>;
  /** Another request with this key. */
  other(key: string): ReturnType<TestApi["call"]>;
  readonly runId: string | null;
}

async function send(route: string, key: string): Promise<Sending> {
  const wanted = ROUTE_CASES[route];
  if (wanted === undefined) throw new Error(`${route} has no case`);
  const tenant = await api.tenant();
  const user = wanted.by === "owner" ? tenant.owner : "olga";
  const idOf: IdOf = (thing) => THINGS[thing](api, tenant);
  const request = await wanted.request(idOf);
  const method = Method.parse(route.split(" ")[0]);
  const call = (theKey: string) =>
    api.call(method, request.path, {
      user,
      ...request,
      headers: { ...request.headers, "idempotency-key": theKey },
    });
  const before = await countRuns();
  const response = await call(key);
  const created = (await countRuns()) > before;
  return {
    tenant,
    statusCode: response.statusCode,
    created,
    runId: created ? runOf(response).id : null,
    again: call,
    other: (theKey) => {
      const { path, ...other } = otherRequest(route, tenant);
      return api.call(other.method, path, { user, ...other, headers: { "idempotency-key": theKey } });
    },
  };
}

const creating: string[] = [];

test.each(CHANGING)("%s, if it creates a run, creates one for each key", async (route) => {
  const key = randomUUID();
  const first = await send(route, key);
  expect(first.statusCode).toBeLessThan(300);
  if (!first.created) return;
  creating.push(route);
  const runs = await countRuns();

  const again = await Promise.all([first.again(key), first.again(key)]);
  for (const response of again) {
    expect([response.statusCode, runOf(response).id]).toEqual([202, first.runId]);
  }
  const other = await first.other(key);
  expect([other.statusCode, other.json().code]).toEqual([409, "idempotency_conflict"]);
  expect(await countRuns()).toBe(runs);
});

test("the routes that were found to create runs are those whose documentation offers the key", async () => {
  const { paths } = z
    .object({ paths: z.record(z.string(), z.record(z.string(), z.unknown())) })
    .parse((await api.call("GET", "/openapi.json", { user: "olga" })).json());
  const documented = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => JSON.stringify(operation).toLowerCase().includes('"idempotency-key"'))
      .map(([method]) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ":$1")}`),
  );
  expect(creating.length).toBeGreaterThan(5);
  // An approval lets a run go on that its asker's request created; sent again, it finds the decision made.
  const letting = new Set(["POST /v1/restores/:id/approve"]);
  expect(creating.toSorted()).toEqual(
    documented.filter((route) => !route.startsWith("GET ") && !letting.has(route)).toSorted(),
  );
});
