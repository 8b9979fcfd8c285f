import { randomBytes, randomUUID } from "node:crypto";
import { claimRun, failRun, getTenant, getTenantKey, insertTenantKey, listAuditEntries } from "@rowback/db";
import { ErasureCertificate } from "@rowback/recovery/plans";
import { afterAll, beforeAll, expect, test } from "vitest";
import { finishBackup, runOf, startTestApi, type TestApi, type TestTenant } from "../testing/test-api.ts";

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

const MASTER_KEY_ID = "0123456789abcdef";

async function tenantWithKey(): Promise<TestTenant & { keyId: string; name: string }> {
  const tenant = await api.tenant();
  const keyId = randomUUID();
  const owner = { tenantId: tenant.id };
  const key = { id: keyId, owner, wrapped: randomBytes(80), masterKeyId: MASTER_KEY_ID };
  await insertTenantKey(api.db.system, key, "worker-1");
  return { ...tenant, keyId, name: `tenant of ${tenant.owner}` };
}

function erase(tenantId: string, confirm: string, headers: Record<string, string> = {}) {
  return api.call("POST", `/v1/tenants/${tenantId}/erase`, { user: "olga", headers, body: { confirm } });
}

test("a source is encrypted when it says so, and its operators see it", async () => {
  const body = { name: randomUUID(), connection: "env:SHOP_URL", tenancy: { mode: "column", column: "tenant_id" } };
  const clear = await api.call("POST", "/v1/sources", { user: "olga", body });
  expect([clear.statusCode, clear.json().encryption]).toEqual([201, false]);
  const sealed = await api.call("POST", "/v1/sources", {
    user: "olga",
    body: { ...body, name: randomUUID(), encryption: true },
  });
  expect([sealed.statusCode, sealed.json().encryption]).toEqual([201, true]);
  const path = `/v1/sources/${clear.json().id}`;
  const patched = await api.call("PATCH", path, { user: "olga", body: { encryption: true } });
  expect([patched.statusCode, patched.json().encryption]).toEqual([200, true]);
  const other = await api.call("PATCH", path, { user: "olga", body: { rules: [] } });
  expect(other.json().encryption).toBe(true);
  const wrong = await api.call("PATCH", path, { user: "olga", body: { encryption: "yes" } });
  expect([wrong.statusCode, wrong.json().code]).toEqual([400, "invalid_request"]);
});

test("a source is encrypted or has a change log, which is not sealed yet; not both", async () => {
  const body = { name: randomUUID(), connection: "env:SHOP_URL", tenancy: { mode: "column", column: "tenant_id" } };
  const created = await api.call("POST", "/v1/sources", { user: "olga", body: { ...body, encryption: true } });
  const { id } = created.json<{ id: string }>();
  const refused = await api.call("POST", `/v1/sources/${id}/capture`, { user: "olga" });
  expect([refused.statusCode, refused.json().code]).toEqual([409, "conflict"]);
  expect((await api.call("PATCH", `/v1/sources/${id}`, { user: "olga", body: { encryption: false } })).statusCode).toBe(
    200,
  );
  expect((await api.call("POST", `/v1/sources/${id}/capture`, { user: "olga" })).statusCode).toBe(202);
  await api.db.system.query({
    text: "INSERT INTO capture_states (source_id, status, slot_name, publication_name) VALUES ($1, 'on', 's', 'p')",
    values: [id],
  });
  const late = await api.call("PATCH", `/v1/sources/${id}`, { user: "olga", body: { encryption: true } });
  expect([late.statusCode, late.json().code]).toEqual([409, "conflict"]);
  expect((await api.call("GET", `/v1/sources/${id}`, { user: "olga" })).json().encryption).toBe(false);
});

test("without the tenant's very name nothing is erased", async () => {
  const tenant = await tenantWithKey();
  for (const confirm of ["yes", `${tenant.name} `, tenant.name.toUpperCase(), tenant.id]) {
    const refused = await erase(tenant.id, confirm);
    expect([refused.statusCode, refused.json().code]).toEqual([400, "invalid_request"]);
  }
  expect((await api.call("POST", `/v1/tenants/${tenant.id}/erase`, { user: "olga", body: {} })).statusCode).toBe(400);
  expect((await erase(randomUUID(), tenant.name)).statusCode).toBe(404);
  const byOwner = await api.call("POST", `/v1/tenants/${tenant.id}/erase`, {
    user: tenant.owner,
    body: { confirm: tenant.name },
  });
  expect(byOwner.statusCode).toBe(403);
  expect((await getTenant(api.db.system, tenant.id))?.erasedAt).toBeNull();
  expect((await getTenantKey(api.db.system, { tenantId: tenant.id }))?.wrapped).toHaveLength(80);
  expect((await api.call("GET", `/v1/tenants/${tenant.id}/erasure`, { user: "olga" })).statusCode).toBe(404);
});

test("erasing destroys the key at once, certifies it, and asks for the purge", async () => {
  const tenant = await tenantWithKey();
  const backup = await api.call("POST", "/v1/backups", { user: tenant.owner, body: {} });
  await finishBackup(api.db, runOf(backup).id);
  const queued = runOf(await api.call("POST", "/v1/backups", { user: tenant.owner, body: {} }));
  const answer = await erase(tenant.id, tenant.name);
  expect([answer.statusCode, runOf(answer)]).toMatchObject([202, { kind: "tenant_erase", status: "queued" }]);

  expect(await getTenantKey(api.db.system, { tenantId: tenant.id })).toMatchObject({ id: tenant.keyId, wrapped: null });
  const erasure = await api.call("GET", `/v1/tenants/${tenant.id}/erasure`, { user: "olga" });
  const certificate = ErasureCertificate.parse(erasure.json().certificate);
  expect(erasure.json()).toMatchObject({ tenantId: tenant.id, runId: runOf(answer).id, purgedAt: null });
  expect(certificate).toMatchObject({
    tenant: { id: tenant.id, name: tenant.name },
    source: { id: tenant.sourceId },
    erasedBy: "olga",
    dataKey: { id: tenant.keyId, masterKeyId: MASTER_KEY_ID },
    backups: { encrypted: 0, inClear: 1, storedBytes: 10 },
    digest: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  const { items } = await listAuditEntries(api.db.system, tenant.id);
  const entry = items.find(({ action }) => action === "tenant.erase");
  expect(entry).toMatchObject({
    userId: "olga",
    after: { certificateDigest: certificate.digest },
  });

  // The tenant is gone for its members, and so is what it had under way.
  expect((await api.call("GET", "/v1/backups", { user: tenant.owner })).statusCode).toBe(403);
  expect((await api.call("POST", "/v1/backups", { user: tenant.owner, body: {} })).statusCode).toBe(403);
  const { rows } = await api.db.system.query({ text: "SELECT status FROM runs WHERE id = $1", values: [queued.id] });
  expect(rows).toEqual([{ status: "cancelled" }]);
});

test("asked again after the purge gave up, it begins another one; the certificate stays", async () => {
  const tenant = await tenantWithKey();
  const first = runOf(await erase(tenant.id, tenant.name));
  const before = (await api.call("GET", `/v1/tenants/${tenant.id}/erasure`, { user: "olga" })).json();
  const claim = await claimRun(api.db.system, { runId: first.id, worker: "test", leaseMs: 60_000 });
  const error = { code: "store_unreachable", message: "The object store does not answer", retryable: true };
  await failRun(api.db.system, { runId: first.id, attemptToken: claim?.attemptToken ?? "" }, error);
  const again = runOf(await erase(tenant.id, tenant.name));
  expect(again).toMatchObject({ kind: "tenant_erase", status: "queued" });
  expect(again.id).not.toBe(first.id);
  expect(runOf(await erase(tenant.id, tenant.name)).id).toBe(again.id);
  expect((await api.call("GET", `/v1/tenants/${tenant.id}/erasure`, { user: "olga" })).json()).toEqual(before);
});

test("asked again, with or without the same key, it is the same erasure", async () => {
  const tenant = await tenantWithKey();
  const headers = { "idempotency-key": randomUUID() };
  const answers = await Promise.all([
    erase(tenant.id, tenant.name, headers),
    erase(tenant.id, tenant.name, headers),
    erase(tenant.id, tenant.name),
  ]);
  answers.push(await erase(tenant.id, tenant.name), await erase(tenant.id, tenant.name, headers));
  expect(new Set(answers.map(({ statusCode }) => statusCode))).toEqual(new Set([202]));
  expect(new Set(answers.map((answer) => runOf(answer).id)).size).toBe(1);
  const { rows } = await api.db.system.query({
    text: "SELECT count(*)::int FROM runs WHERE tenant_id = $1 AND kind = 'tenant_erase'",
    values: [tenant.id],
  });
  expect(rows).toEqual([{ count: 1 }]);
});
