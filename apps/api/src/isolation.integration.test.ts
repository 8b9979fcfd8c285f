import { randomUUID } from "node:crypto";
import { updateTenantSettings, withTenant } from "@rowback/db";
import type { LightMyRequestResponse } from "fastify";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { type IdOf, ROUTE_CASES, type RouteRequest } from "./testing/route-cases.ts";
import { startTestApi, type TestApi, type TestTenant } from "./testing/test-api.ts";
import { THINGS, type Thing } from "./testing/things.ts";

// DESIGN §5.8. The tenant `mine` tries every id of the tenant `other` in every place of every route. The answer must be that
// for an id which does not exist, byte for byte, and nothing may have happened.

const Things = z.enum(Object.keys(THINGS));
const ALL_THINGS = Object.keys(THINGS).filter(isThing);
function isThing(name: string): name is Thing {
  return Things.safeParse(name).success;
}

let api: TestApi;
let mine: TestTenant;
let other: TestTenant;
/** Every kind of id of the other tenant. */
const foreign = new Map<Thing, string>();
/** And whatever else would give it away. */
let secrets: string[];
beforeAll(async () => {
  api = await startTestApi();
  [mine, other] = [await api.tenant(), await api.tenant({ owner: `owner-of-other-${randomUUID()}` })];
  // Each thing stands on a backup, and these tests make a hundred of them.
  for (const { id } of [mine, other]) await updateTenantSettings(api.db.system, id, { backupsPerHour: 1_000_000 });
  for (const thing of ALL_THINGS) foreign.set(thing, await THINGS[thing](api, other));
  const text = "SELECT key, name FROM tenants WHERE id = $1";
  const { rows } = await api.db.system.query({ text, values: [other.id] });
  const [{ key, name }] = z.tuple([z.object({ key: z.string(), name: z.string() })]).parse(rows);
  secrets = [...foreign.values(), other.owner, key, name];
});
afterAll(() => api.close());

const Method = z.enum(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);

/** Places for ids that a good request leaves empty. */
const MORE_REQUESTS: Readonly<Record<string, (id: IdOf) => Promise<RouteRequest>>> = {
  "POST /v1/restores/preview": async (id) => ({
    path: "/v1/restores/preview",
    body: { backupId: await id("backup"), targetSourceId: await id("source") },
  }),
  "GET /v1/audit-log": async (id) => ({ path: `/v1/audit-log?userId=${await id("member")}` }),
};

interface Slot {
  readonly route: string;
  readonly thing: Thing;
  /** The request with this id in the slot, and the caller's own in all others. */
  readonly request: (id: string) => Promise<RouteRequest>;
}

/** Every place for an id in the requests of a route. */
async function slotsOf(route: string): Promise<Slot[]> {
  const slots: Slot[] = [];
  for (const request of [ROUTE_CASES[route]?.request, MORE_REQUESTS[route]]) {
    if (request === undefined) continue;
    const own = new Map<Thing, string>();
    await request(async (thing) => {
      own.set(thing, await THINGS[thing](api, mine));
      return own.get(thing) ?? "";
    });
    for (const thing of own.keys()) {
      slots.push({
        route,
        thing,
        request: (id) => request(async (asked) => (asked === thing ? id : (own.get(asked) ?? ""))),
      });
    }
  }
  return slots;
}

/** All that a client can tell an answer by, without the id that it sent and what differs from one request to the next. */
function shapeOf(response: LightMyRequestResponse, id: string): unknown {
  const headers = Object.entries(response.headers).map(([name, value]) =>
    /^(date|(x-)?ratelimit.*)$/.test(name) ? [name] : [name, String(value).replaceAll(id, "<id>")],
  );
  const body = response.body.replaceAll(id, "<id>").replace(/"requestId":"[^"]+"/, '"requestId":""');
  return { status: response.statusCode, headers, body };
}

const Tables = z.array(z.object({ name: z.string() }));
const Digest = z.array(z.object({ digest: z.string().nullable() }));

/** One text for all rows of all tables, but for the notes of what `mine` itself has read, and for the jobs in the queues. */
async function everything(): Promise<string> {
  const { rows } = await api.db.system.query({
    text: `SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
      AND has_table_privilege(oid, 'SELECT') AND relname <> 'audit_chains' ORDER BY 1`,
  });
  const parts = Tables.parse(rows).map(
    ({ name }) => `SELECT '${name}' || string_agg(md5(t::text), '' ORDER BY md5(t::text)) AS digest FROM ${name} t
      ${name === "audit_log" ? `WHERE user_id <> '${mine.owner}'` : ""}`,
  );
  const digests = Digest.parse((await api.db.system.query({ text: parts.join(" UNION ALL ") })).rows);
  const jobs = (await api.deps.queues.depths()).map(({ queue, state, jobs: count }) => `${queue} ${state} ${count}`);
  return [...digests.map(({ digest }) => digest), ...jobs].join("\n");
}

const ask = (route: string, request: RouteRequest) =>
  api.call(Method.parse(route.split(" ")[0]), request.path, { user: mine.owner, ...request });

const unknownLike = (id: string): string => id.replace(/[0-9a-f-]{36}$/, randomUUID());

test("every route is tried", () => {
  const registered = api.app
    .accessTable()
    .filter(({ access, url }) => access !== "public" && !url.startsWith("/admin/queues"))
    .flatMap(({ methods, url }) => methods.filter((method) => method !== "HEAD").map((method) => `${method} ${url}`));
  expect(Object.keys(ROUTE_CASES).toSorted()).toEqual(registered.toSorted());
});

describe("another tenant's id is like one that does not exist", () => {
  test.each(Object.keys(ROUTE_CASES))("in %s", async (route) => {
    // That one is what a history needs to be there; its id is in no request.
    const slots = (await slotsOf(route)).filter(({ thing }) => thing !== "capturedBackup");
    const takesIds = /:id/.test(route) || slots.length > 0;
    expect(takesIds).toBe(slots.length > 0);
    for (const { thing, request } of slots) {
      const before = await everything();
      for (const [kind, id] of foreign) {
        const unknown = unknownLike(id);
        const [answer, reference] = [await ask(route, await request(id)), await ask(route, await request(unknown))];
        const where = `${route}, the ${kind} of another tenant as ${thing}`;
        expect(shapeOf(answer, id), where).toEqual(shapeOf(reference, unknown));
        for (const secret of secrets) expect(answer.body.replaceAll(id, "").includes(secret), where).toBe(false);
      }
      expect(await everything(), `${route}: ${thing}`).toBe(before);
    }
  });

  test.each(Object.keys(ROUTE_CASES))("as X-Tenant-Id of %s", async (route) => {
    const request = await (ROUTE_CASES[route]?.request ?? (async () => ({ path: "" })))((thing) =>
      THINGS[thing](api, mine),
    );
    const before = await everything();
    const answer = (tenantId: string) => ask(route, { ...request, headers: { "x-tenant-id": tenantId } });
    const unknown = randomUUID();
    const [known, reference] = [await answer(other.id), await answer(unknown)];
    expect(known.statusCode).toBe(404);
    expect(shapeOf(known, other.id)).toEqual(shapeOf(reference, unknown));
    expect(await everything()).toBe(before);
  });

  test("in what a tenant lists", async () => {
    for (const route of Object.keys(ROUTE_CASES).filter((name) => /^GET [^:]*$/.test(name))) {
      const response = await api.call("GET", route.slice(4), { user: mine.owner });
      for (const secret of secrets) expect([route, response.body.includes(secret)]).toEqual([route, false]);
    }
  });
});

describe("the database role alone", () => {
  const Columns = z.array(z.object({ table: z.string(), column: z.string() }));
  const Count = z.tuple([z.object({ count: z.coerce.number() })]);

  /** How many rows of all tables have this text in any column, as far as the tenant's role sees. */
  async function seen(id: string): Promise<number> {
    return withTenant(api.db, mine.id, async (client) => {
      const { rows } = await client.query({
        text: `SELECT c.relname AS table, a.attname AS column FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
          WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
            AND has_column_privilege(c.oid, a.attnum, 'SELECT')`,
      });
      const counts = Columns.parse(rows).map(
        ({ table, column }) => `SELECT count(*) FROM ${table} WHERE strpos("${column}"::text, $1) > 0`,
      );
      const sum = `SELECT sum(count) AS count FROM (${counts.join(" UNION ALL ")}) counts`;
      return Count.parse((await client.query({ text: sum, values: [id] })).rows)[0].count;
    });
  }

  test.each(ALL_THINGS)("shows no row with another tenant's %s", async (thing) => {
    if (thing !== "sourceOfNobody" && thing !== "erasedTenant")
      expect(await seen(await THINGS[thing](api, mine))).toBeGreaterThan(0);
    expect(await seen(foreign.get(thing) ?? "")).toBe(0);
  });

  test("changes none of another tenant's runs and backups", async () => {
    for (const id of foreign.values()) {
      if (!z.uuid().safeParse(id).success) continue;
      for (const text of [
        "UPDATE runs SET status = 'cancelled', cancel_requested_at = now(), finished_at = now() WHERE id = $1",
        "UPDATE backup_jobs SET deleted_at = now() WHERE run_id = $1",
      ]) {
        const { rowCount } = await withTenant(api.db, mine.id, (client) => client.query({ text, values: [id] }));
        expect([text, rowCount]).toEqual([text, 0]);
      }
    }
  });
});
