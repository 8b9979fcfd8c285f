import { Writable } from "node:stream";
import { insertApiKey, setMember, withTenant } from "@rowback/db";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { newApiKey } from "../auth/api-key.ts";
import { KEY_SCOPES } from "../auth/permissions.ts";
import { createLogger } from "../logger.ts";
import { startTestApi, type TestApi, type TestTenant } from "../testing/test-api.ts";

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
  await api.member(tenant.id, "mia", "member");
  await api.member(tenant.id, "vic", "viewer");
});
afterAll(() => api.close());

const NewKey = z.looseObject({ id: z.uuid(), key: z.string(), prefix: z.string() });

async function keyOf(user: string, scopes: readonly string[], headers: Record<string, string> = {}) {
  const response = await api.call("POST", "/v1/api-keys", { user, headers, body: { name: "ci", scopes } });
  expect(response.statusCode, response.body).toBe(201);
  return NewKey.parse(response.json());
}

const as = (key: string, headers: Record<string, string> = {}) => ({
  headers: { authorization: `Bearer ${key}`, ...headers },
});
const status = async (...call: Parameters<TestApi["call"]>): Promise<number> => (await api.call(...call)).statusCode;

const Entries = z.array(z.object({ action: z.string(), userId: z.string(), after: z.unknown() }));

/** The tenant's audit entries, newest first. */
async function auditEntries(): Promise<z.infer<typeof Entries>> {
  const { rows } = await api.db.system.query({
    text: `SELECT action, user_id AS "userId", after FROM audit_log WHERE tenant_id = $1 ORDER BY id DESC`,
    values: [tenant.id],
  });
  return Entries.parse(rows);
}

describe("making a key", () => {
  test("shows it once, keeps its hash, and notes who made it", async () => {
    logged.length = 0;
    const made = await keyOf(tenant.owner, ["backup:read"]);
    expect(made.key).toMatch(/^rbk_[0-9a-f]{16}_[\w-]{43}$/);
    expect(made.key.startsWith(`${made.prefix}_`)).toBe(true);
    expect(await status("GET", "/v1/backups", as(made.key))).toBe(200);
    const secret = made.key.slice(made.prefix.length + 1);

    const listed = await api.call("GET", "/v1/api-keys", { user: tenant.owner });
    expect(listed.json().items).toContainEqual(
      expect.objectContaining({ id: made.id, prefix: made.prefix, scopes: ["backup:read"], createdBy: tenant.owner }),
    );
    const rows = await api.db.system.query({ text: "SELECT k::text AS row FROM api_keys k" });
    const entries = await auditEntries();
    expect(JSON.stringify(entries)).toContain("api-key.create");
    for (const text of [listed.body, JSON.stringify(rows.rows), JSON.stringify(entries), logged.join("")]) {
      expect(text).not.toContain(secret);
    }
  });

  test("is refused beyond one's own role, by name, and for what no key may do", async () => {
    const make = (user: string, scopes: readonly string[]) =>
      api.call("POST", "/v1/api-keys", { user, body: { name: "ci", scopes } });
    const beyond = await make("mia", ["backup:create", "restore:apply"]);
    expect([beyond.statusCode, beyond.json().detail]).toEqual([403, "Your role does not include restore:apply."]);
    for (const scope of ["api-key:create", "settings:manage", "operator", "queue:manage", "everything"]) {
      expect([scope, (await make(tenant.owner, [scope])).statusCode]).toEqual([scope, 400]);
    }
    expect((await make(tenant.owner, [])).statusCode).toBe(400);
    expect(await status("POST", "/v1/api-keys", { user: "vic", body: { name: "ci", scopes: ["backup:read"] } })).toBe(
      403,
    );
  });

  test.each([{ expiresInDays: 0 }, { expiresInDays: 367 }, { expiresInDays: 1.5 }, { name: "" }, { name: "a\0" }])(
    "with %j is refused",
    async (change) => {
      const body = { name: "ci", scopes: ["backup:read"], ...change };
      expect(await status("POST", "/v1/api-keys", { user: tenant.owner, body })).toBe(400);
    },
  );
});

describe("a key", () => {
  test("does what its scopes say and nothing else, in its maker's name", async () => {
    const { key, id } = await keyOf("mia", ["backup:create"]);
    const made = await api.call("POST", "/v1/backups", { ...as(key), body: {} });
    expect([made.statusCode, made.json()]).toEqual([
      202,
      expect.objectContaining({ tenantId: tenant.id, requestedBy: "mia" }),
    ]);
    expect(await status("GET", "/v1/backups", as(key))).toBe(403);
    expect(await status("GET", `/v1/runs/${made.json().id}`, as(key))).toBe(403);
    expect((await auditEntries())[0]).toMatchObject({
      action: "backup.create",
      userId: "mia",
      after: { apiKeyId: id },
    });
  });

  test("makes, shows and revokes no keys, whatever its maker may", async () => {
    const { key, id } = await keyOf(tenant.owner, KEY_SCOPES);
    expect(await status("POST", "/v1/api-keys", { ...as(key), body: { name: "x", scopes: ["backup:read"] } })).toBe(
      403,
    );
    expect(await status("GET", "/v1/api-keys", as(key))).toBe(403);
    expect(await status("DELETE", `/v1/api-keys/${id}`, as(key))).toBe(403);
  });

  test("is never an operator's, and stays in its tenant", async () => {
    const other = await api.tenant({ owner: "olga" });
    await api.member(tenant.id, "olga", "admin");
    const { key } = await keyOf("olga", KEY_SCOPES, { "x-tenant-id": tenant.id });
    expect(await status("GET", "/v1/sources", { user: "olga" })).toBe(200);
    expect(await status("GET", "/v1/sources", as(key))).toBe(403);
    expect(await status("GET", "/admin/queues/api/queues", as(key))).toBe(403);
    const ownPage = { "sec-fetch-site": "same-origin" };
    const session = { method: "POST", url: "/admin/session", headers: ownPage, payload: { token: key } } as const;
    expect((await api.app.inject(session)).statusCode).toBe(401);

    expect((await api.call("GET", "/v1/tenants", as(key))).json().items).toEqual([
      expect.objectContaining({ id: tenant.id }),
    ]);
    expect(await status("GET", `/v1/tenants/${tenant.id}`, as(key))).toBe(200);
    expect(await status("GET", `/v1/tenants/${other.id}`, as(key))).toBe(404);
    expect(await status("GET", "/v1/backups", as(key, { "x-tenant-id": tenant.id.toUpperCase() }))).toBe(200);
    const [foreign, unknown] = [other.id, crypto.randomUUID()].map((id) =>
      api.call("GET", "/v1/backups", as(key, { "x-tenant-id": id })),
    );
    expect((await foreign)?.statusCode).toBe(404);
    expect({ ...(await foreign)?.json(), requestId: "" }).toEqual({ ...(await unknown)?.json(), requestId: "" });
  });

  test("shrinks with its maker's role and ends with his membership, at once", async () => {
    await api.member(tenant.id, "leaver", "admin");
    const { key } = await keyOf("leaver", ["backup:create", "backup:read"]);
    expect(await status("POST", "/v1/backups", { ...as(key), body: {} })).toBe(202);
    await setMember(api.db.system, { userId: "leaver", tenantId: tenant.id, role: "viewer" });
    expect(await status("POST", "/v1/backups", { ...as(key), body: {} })).toBe(403);
    expect(await status("GET", "/v1/backups", as(key))).toBe(200);
    expect(await status("DELETE", `/v1/tenants/${tenant.id}/members/leaver`, { user: "olga" })).toBe(204);
    expect(await status("GET", "/v1/backups", as(key))).toBe(401);
    await setMember(api.db.system, { userId: "leaver", tenantId: tenant.id, role: "owner" });
    expect(await status("GET", "/v1/backups", as(key))).toBe(401);
  });

  test("that does not count is refused in the words for a bad token", async () => {
    const { key, id, prefix } = await keyOf(tenant.owner, ["backup:read"]);
    const bare = await api.call("GET", "/v1/backups");
    const { key: another } = await keyOf(tenant.owner, ["backup:read"]);
    const secret = key.slice(prefix.length + 1);
    const refusals = [
      `rbk_${"0".repeat(16)}_${secret}`,
      `${prefix}_${another.slice(prefix.length + 1)}`,
      `${prefix}_${secret.slice(0, -1)}`,
      `${prefix}_${secret}x`,
      prefix,
      `${prefix}'--_${secret}`,
    ];
    const expired = newApiKey();
    await withTenant(api.db, tenant.id, (client) =>
      insertApiKey(client, {
        ...expired,
        name: "expired",
        scopes: ["backup:read"],
        createdBy: tenant.owner,
        expiresAt: new Date(Date.now() - 1000),
      }),
    );
    const refused = async (presented: string): Promise<void> => {
      const response = await api.call("GET", "/v1/backups", as(presented));
      expect([presented, response.statusCode]).toEqual([presented, 401]);
      expect({ ...response.json(), requestId: "" }).toEqual({ ...bare.json(), requestId: "" });
    };
    // While the key itself counts: only the secret is wrong.
    for (const presented of [...refusals, expired.text]) await refused(presented);
    expect(await status("GET", "/v1/backups", as(key))).toBe(200);
    await api.call("DELETE", `/v1/api-keys/${id}`, { user: tenant.owner });
    await refused(key);
    expect(await status("GET", "/v1/backups", as(another))).toBe(200);
  });
});

describe("keys of others", () => {
  test("are an owner's or admin's to see and revoke, and to a member as unknown as none", async () => {
    const [mine, theirs] = [await keyOf("mia", ["backup:read"]), await keyOf(tenant.owner, ["backup:read"])];
    const ids = async (user: string, query = ""): Promise<string[]> =>
      (await api.call("GET", `/v1/api-keys${query}`, { user })).json().items.map(({ id }: { id: string }) => id);
    expect(await ids("mia")).toContain(mine.id);
    expect(await ids("mia")).not.toContain(theirs.id);
    expect(await ids(tenant.owner)).toEqual(expect.arrayContaining([mine.id, theirs.id]));
    expect(await status("DELETE", `/v1/api-keys/${theirs.id}`, { user: "mia" })).toBe(404);
    expect(await status("DELETE", `/v1/api-keys/${crypto.randomUUID()}`, { user: "mia" })).toBe(404);
    const stranger = await api.tenant();
    expect(await status("DELETE", `/v1/api-keys/${theirs.id}`, { user: stranger.owner })).toBe(404);
    expect(await status("GET", "/v1/backups", as(theirs.key))).toBe(200);

    expect(await status("DELETE", `/v1/api-keys/${mine.id}`, { user: tenant.owner })).toBe(204);
    expect(await status("DELETE", `/v1/api-keys/${mine.id}`, { user: "mia" })).toBe(204);
    expect(await status("GET", "/v1/backups", as(mine.key))).toBe(401);
    expect(await ids("mia")).not.toContain(mine.id);
    expect(await ids("mia", "?ended=true")).toContain(mine.id);
    const entries = await auditEntries();
    expect(entries.filter(({ action }) => action === "api-key.revoke").map(({ userId }) => userId)[0]).toBe(
      tenant.owner,
    );
  });
});
