import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { startTestApi, type TestApi, type TestTenant } from "../testing/test-api.ts";
import { THINGS } from "../testing/things.ts";

let api: TestApi;
let tenant: TestTenant;
beforeAll(async () => {
  api = await startTestApi();
  tenant = await api.tenant();
  for (const role of ["admin", "member", "viewer"] as const) await api.member(tenant.id, role, role);
});
afterAll(() => api.close());

const Page = z.object({
  items: z.array(z.looseObject({ seq: z.int(), action: z.string(), at: z.string(), userId: z.string() })),
  next: z.string().nullable(),
});

async function log(query = "", user = tenant.owner) {
  const response = await api.call("GET", `/v1/audit-log${query}`, { user });
  expect(response.statusCode, response.body).toBe(200);
  return Page.parse(response.json());
}

test("tells who did what, when, from where, before and after; page by page, without a gap", async () => {
  const backup = await THINGS.backup(api, tenant);
  await api.call("DELETE", `/v1/backups/${backup}`, { user: "admin" });
  await api.call("POST", `/v1/backups/${backup}/undelete`, { user: "admin" });
  const [undeleted, deleted, finished, created] = (await log(`?runId=${backup}`)).items;
  expect(created).toMatchObject({ action: "backup.create", userId: tenant.owner, ip: "127.0.0.1", before: null });
  expect(finished).toMatchObject({
    action: "backup.finish",
    userId: tenant.owner,
    ip: null,
    after: { worker: "test" },
  });
  expect(deleted).toMatchObject({ userId: "admin", before: { deleted: false }, after: { deleted: true } });
  expect(undeleted).toMatchObject({ action: "backup.undelete", hash: expect.stringMatching(/^[0-9a-f]{64}$/) });

  for (let n = 0; n < 5; n += 1) await THINGS.queuedBackup(api, tenant);
  const seen: number[] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const page: z.infer<typeof Page> = await log(`?limit=3${cursor === "" ? "" : `&cursor=${cursor}`}`);
    seen.push(...page.items.map(({ seq }) => seq));
    cursor = page.next;
  }
  // Reading the log is an entry too, written after the first page was.
  expect(seen).toEqual(Array.from(seen, (_, index) => seen.length - index));
});

test("is filtered by who, what and when", async () => {
  const backup = await THINGS.backup(api, tenant);
  await api.call("GET", `/v1/backups/${backup}`, { user: "viewer" });
  expect((await log("?userId=viewer")).items).toMatchObject([{ action: "backup.read", runId: backup }]);
  const creations = (await log("?action=backup.create")).items;
  expect(new Set(creations.map(({ action }) => action))).toEqual(new Set(["backup.create"]));
  const second = creations.at(-2)?.at ?? "";
  const later = (await log(`?action=backup.create&from=${second}`)).items.length;
  const earlier = (await log(`?action=backup.create&to=${second}`)).items.length;
  expect([later > 0, earlier > 0, later + earlier]).toEqual([true, true, creations.length]);
  for (const [query, path] of [
    ["from=yesterday", "from"],
    ["runId=1", "runId"],
    ["cursor=x", "cursor"],
    ["tenantId=x", "tenantId"],
    ["user=ann", "user"],
  ]) {
    const refused = await api.call("GET", `/v1/audit-log?${query}`, { user: tenant.owner });
    expect([refused.statusCode, refused.json().errors?.[0].path]).toEqual([400, path]);
  }
});

test("is for owners and admins of the tenant, and for operators", async () => {
  expect((await log("", "admin")).items.length).toBeGreaterThan(0);
  for (const user of ["member", "viewer"]) {
    expect((await api.call("GET", "/v1/audit-log", { user })).statusCode).toBe(403);
  }
  await api.source();
  const sourceId = await api.source();
  await api.call("DELETE", `/v1/sources/${sourceId}`, { user: "olga" });
  const own = await log("", "olga");
  expect(own.items[0]).toMatchObject({ action: "source.delete", tenantId: null, sourceId });
  expect((await log(`?tenantId=${tenant.id}`, "olga")).items.every((item) => item["tenantId"] === tenant.id)).toBe(
    true,
  );
  expect((await api.call("GET", `/v1/audit-log?tenantId=${randomUUID()}`, { user: "olga" })).statusCode).toBe(404);
});

test("of another tenant is as unknown as that of none", async () => {
  const other = await api.tenant();
  const ask = async (tenantId: string) => {
    const response = await api.call("GET", `/v1/audit-log?tenantId=${tenantId}`, { user: tenant.owner });
    return { status: response.statusCode, body: { ...response.json(), requestId: "" } };
  };
  expect(await ask(other.id)).toEqual(await ask(randomUUID()));
  expect((await ask(other.id)).status).toBe(404);
  expect((await ask(tenant.id)).status).toBe(200);
});
