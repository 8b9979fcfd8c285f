import { getTenantSettings } from "@rowback/db";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { startTestApi, type TestApi, type TestTenant } from "../testing/test-api.ts";

let api: TestApi;
let tenant: TestTenant;
beforeAll(async () => {
  api = await startTestApi();
  tenant = await api.tenant();
});
afterAll(() => api.close());

const DEFAULTS = {
  storageQuotaBytes: null,
  backupsPerHour: 10,
  deletedBackupGraceHours: 168,
  restoresNeedApproval: false,
  restoreApprovalHours: 24,
};
const own = (user: string, body: object) => api.call("PATCH", "/v1/settings", { user, body });
const operators = (body: object, id = tenant.id) =>
  api.call("PATCH", `/v1/tenants/${id}/settings`, { user: "olga", body });

test("a tenant sees all of its settings and changes its own rules; an operator changes the limits", async () => {
  await api.member(tenant.id, "vic", "viewer");
  expect((await api.call("GET", "/v1/settings", { user: "vic" })).json()).toEqual(DEFAULTS);
  expect((await own(tenant.owner, { restoresNeedApproval: true, restoreApprovalHours: 2 })).json()).toEqual({
    ...DEFAULTS,
    restoresNeedApproval: true,
    restoreApprovalHours: 2,
  });
  const limits = { storageQuotaBytes: 5_000_000_000_000, backupsPerHour: 0, deletedBackupGraceHours: 24 };
  const changed = { ...DEFAULTS, restoresNeedApproval: true, restoreApprovalHours: 2, ...limits };
  expect((await operators(limits)).json()).toEqual(changed);
  expect((await operators({ storageQuotaBytes: null })).json()).toEqual({ ...changed, storageQuotaBytes: null });
  expect((await api.call("GET", `/v1/tenants/${tenant.id}/settings`, { user: "olga" })).json().backupsPerHour).toBe(0);
});

test("what is not the caller's to change is refused by name, and nothing of the request is done", async () => {
  const { id, owner } = await api.tenant();
  for (const limit of [{ storageQuotaBytes: null }, { backupsPerHour: 1000 }, { deletedBackupGraceHours: 0 }]) {
    const refused = await own(owner, { ...limit, restoresNeedApproval: true });
    expect([refused.statusCode, refused.json().detail]).toEqual([
      403,
      `Only an operator may change ${Object.keys(limit)[0]}.`,
    ]);
  }
  const refused = await operators({ restoresNeedApproval: true, backupsPerHour: 1000 }, id);
  expect([refused.statusCode, refused.json().detail]).toEqual([
    403,
    "Only the tenant's owners and admins may change restoresNeedApproval.",
  ]);
  expect(await getTenantSettings(api.db.system, id)).toEqual(DEFAULTS);
  // An operator who is an owner is an owner there, and no more.
  await api.member(id, "olga", "owner");
  expect((await own("olga", { backupsPerHour: 1000 })).statusCode).toBe(403);
});

test.each([
  { restoreApprovalHours: 0 },
  { restoreApprovalHours: 721 },
  { restoresNeedApproval: "yes" },
  { storageQuotaBytes: -1 },
  { backupsPerHour: 1.5 },
  { backupsPerHour: 1e12 },
  { deletedBackupGraceHours: 1e12 },
  { color: "red" },
])("%j is refused", async (body) => {
  expect((await own(tenant.owner, body)).statusCode).toBe(400);
  expect((await operators(body)).statusCode).toBe(400);
});

test("a tenant that is not there has no settings, not even new ones", async () => {
  expect((await operators({ backupsPerHour: 1 }, crypto.randomUUID())).statusCode).toBe(404);
  const asked = await api.call("GET", `/v1/tenants/${crypto.randomUUID()}/settings`, { user: "olga" });
  expect(asked.statusCode).toBe(404);
});

test("a change is noted with what it changed, and no change is not", async () => {
  const { id, owner } = await api.tenant();
  await own(owner, { restoresNeedApproval: true, restoreApprovalHours: 24 });
  await own(owner, { restoresNeedApproval: true });
  await operators({ backupsPerHour: 3 }, id);
  const { rows } = await api.db.system.query({
    text: "SELECT user_id, before, after FROM audit_log WHERE tenant_id = $1 AND action = 'settings.change' ORDER BY id",
    values: [id],
  });
  expect(z.array(z.looseObject({})).parse(rows)).toEqual([
    { user_id: owner, before: { restoresNeedApproval: false }, after: { restoresNeedApproval: true } },
    { user_id: "olga", before: { backupsPerHour: 10 }, after: { backupsPerHour: 3 } },
  ]);
});
