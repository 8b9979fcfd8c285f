import { getBackup, getRun, insertGaps, turnCaptureOff, updateTenantSettings } from "@rowback/db";
import { afterAll, beforeAll, expect, test } from "vitest";
import { at, backupAt, capturedTenant, lsn } from "../testing/captured-tenant.ts";
import { runOf, startTestApi, type TestApi, type TestTenant } from "../testing/test-api.ts";

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

const post = (tenant: TestTenant, body: object) => api.call("POST", "/v1/backups", { user: tenant.owner, body });
const change = (id: string, set: string) =>
  api.db.system.query({ text: `UPDATE backup_jobs SET ${set} WHERE run_id = $1`, values: [id] });
const get = async (tenant: TestTenant, path: string) => (await api.call("GET", path, { user: tenant.owner })).json();

test("an incremental backup goes on from the newest one, a synthetic full from the one that is named; both say what they stand on", async () => {
  const tenant = await capturedTenant(api, 50);
  const full = await backupAt(api, tenant, 10, 150);
  const first = await backupAt(api, tenant, 20, 200, { type: "incremental" });
  const second = await backupAt(api, tenant, 30, 250, { type: "incremental", parent: first });
  const synthetic = await backupAt(api, tenant, 40, 300, { type: "synthetic_full", parent: first });
  expect(await getBackup(api.db.system, first)).toMatchObject({ parentBackupId: full, baseBackupId: full });
  expect(await getBackup(api.db.system, second)).toMatchObject({
    type: "incremental",
    madeFrom: "log",
    parentBackupId: first,
    baseBackupId: full,
  });
  expect(await getRun(api.db.system, synthetic)).toMatchObject({
    params: { type: "synthetic_full", parentBackupId: first, tables: null, purpose: "manual" },
  });
  expect(await get(tenant, `/v1/backups/${second}`)).toMatchObject({
    type: "incremental",
    chain: [
      { id: full, type: "full" },
      { id: first, type: "incremental" },
      { id: second, type: "incremental" },
    ],
  });
  expect(await get(tenant, `/v1/backups/${synthetic}`)).toMatchObject({
    type: "synthetic_full",
    parentBackupId: null,
    chain: [{ id: synthetic, type: "synthetic_full" }],
  });
  const listed = async (type: string): Promise<string[]> =>
    (await get(tenant, `/v1/backups?type=${type}`)).items.map(({ id }: { id: string }) => id);
  expect(await listed("full")).toEqual([full]);
  expect(await listed("incremental")).toEqual([second, first]);
  expect(await listed("synthetic_full")).toEqual([synthetic]);
});

test("what can't be made is refused with what to change, and makes no run", async () => {
  const tenant = await capturedTenant(api, 50);
  const refused = async (body: object, status: number, code: string): Promise<string> => {
    const answer = await post(tenant, body);
    expect([answer.statusCode, answer.json().code], answer.body).toEqual([status, code]);
    return answer.json().detail;
  };
  await refused({ type: "incremental" }, 409, "conflict");
  await refused({ type: "differential" }, 400, "invalid_request");
  const before = await backupAt(api, tenant, 0, 50);
  expect(await refused({ type: "incremental" }, 422, "moment_unreachable")).toContain(before);
  const some = await backupAt(api, tenant, 5, 120, { tables: ["orders"] });
  await refused({ type: "incremental", parent: some }, 409, "conflict");
  const preRestore = await backupAt(api, tenant, 6, 125);
  await change(preRestore, "purpose = 'pre_restore'");
  expect(await refused({ type: "incremental", parent: preRestore }, 409, "conflict")).toContain("before a restore");
  const full = await backupAt(api, tenant, 10, 150);
  await refused({ type: "incremental", tables: ["orders"] }, 400, "invalid_request");
  const onFull = await backupAt(api, tenant, 12, 160, { type: "incremental" });
  // No request leads there; a hand in the database does.
  await change(full, "deleted_at = now()");
  expect(await refused({ type: "incremental", parent: onFull }, 422, "chain_broken")).toContain(full);
  await change(full, "deleted_at = NULL");
  await refused({ type: "full", parent: full }, 400, "invalid_request");
  await refused({ type: "incremental", parent: crypto.randomUUID() }, 404, "not_found");
  const queued = runOf(await post(tenant, {})).id;
  await refused({ type: "incremental", parent: queued }, 409, "conflict");
  const stranger = await capturedTenant(api, 50);
  const foreign = await backupAt(api, stranger, 10, 150);
  expect(await refused({ type: "synthetic_full", parent: foreign }, 404, "not_found")).not.toContain(foreign);

  await insertGaps(api.db.system, [
    {
      sourceId: tenant.sourceId,
      epoch: 1,
      reason: "table_rewritten",
      tenantKey: null,
      schemaName: "public",
      tableName: "items",
      beginsLsn: lsn(20),
      beginsAt: at(20),
      causeXid: 200n,
      objectKey: `gap of ${tenant.id}`,
    },
  ]);
  expect(await refused({ type: "incremental" }, 422, "moment_unreachable")).toContain("table_rewritten, public.items");
  await backupAt(api, tenant, 30, 250);
  expect((await post(tenant, { type: "incremental" })).statusCode).toBe(202);
  await turnCaptureOff(api.db.system, tenant.sourceId);
  await refused({ type: "incremental" }, 422, "moment_unreachable");
});

test("a chain is deleted from its end, or as a whole, and comes back from its beginning", async () => {
  const tenant = await capturedTenant(api, 50);
  const full = await backupAt(api, tenant, 10, 150);
  const first = await backupAt(api, tenant, 20, 200, { type: "incremental" });
  const second = await backupAt(api, tenant, 30, 250, { type: "incremental" });
  const apart = await backupAt(api, tenant, 40, 300, { type: "synthetic_full" });
  const remove = (id: string, query = "") => api.call("DELETE", `/v1/backups/${id}${query}`, { user: tenant.owner });
  for (const [id, dependents] of [
    [full, [first, second]],
    [first, [second]],
  ] as const) {
    const refused = await remove(id);
    expect([refused.statusCode, refused.json().code]).toEqual([409, "conflict"]);
    for (const dependent of dependents) expect(refused.json().detail).toContain(dependent);
    expect(refused.json().detail).not.toContain(apart);
  }
  const making = runOf(await post(tenant, { type: "incremental", parent: second })).id;
  expect((await remove(full, "?dependents=delete")).statusCode).toBe(409);
  await api.call("POST", `/v1/backups/${making}/cancel`, { user: tenant.owner });
  expect((await remove(full, "?dependents=delete")).json()).toMatchObject({ id: full, deletedAt: expect.any(String) });
  const left = (await get(tenant, "/v1/backups?status=succeeded")).items.map(({ id }: { id: string }) => id);
  expect(left).toEqual([apart]);

  const undelete = (id: string) => api.call("POST", `/v1/backups/${id}/undelete`, { user: tenant.owner });
  const early = await undelete(second);
  expect([early.statusCode, early.json().detail]).toEqual([409, expect.stringContaining(full)]);
  for (const id of [full, first, second]) expect((await undelete(id)).statusCode).toBe(200);
});

test("an incremental backup needs little room: only a quota that is used up refuses it", async () => {
  const tenant = await capturedTenant(api, 50);
  const full = await backupAt(api, tenant, 10, 150);
  const { storedBytes } = (await getBackup(api.db.system, full)) ?? {};
  await updateTenantSettings(api.db.system, tenant.id, { storageQuotaBytes: (storedBytes ?? 0) + 1 });
  expect((await post(tenant, { type: "synthetic_full" })).statusCode).toBe(507);
  expect((await post(tenant, { type: "incremental" })).statusCode).toBe(202);
  await updateTenantSettings(api.db.system, tenant.id, { storageQuotaBytes: storedBytes ?? 0 });
  expect((await post(tenant, { type: "incremental" })).statusCode).toBe(507);
});
