import {
  claimRun,
  getRestore,
  getTenant,
  insertGaps,
  replaceProtectedTables,
  succeedRestorePointRun,
} from "@rowback/db";
import { afterAll, beforeAll, expect, test } from "vitest";
import { at, backupAt, capturedTenant, iso, lsn } from "../testing/captured-tenant.ts";
import { runOf, startTestApi, type TestApi, type TestTenant } from "../testing/test-api.ts";

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

const micros = (minute: number, more = "000"): string => iso(minute).replace("Z", `${more}Z`);
const captured = (covered: number): Promise<TestTenant> => capturedTenant(api, covered);
const backup = (tenant: TestTenant, minute: number, xid: number): Promise<string> => backupAt(api, tenant, minute, xid);

const ask = (tenant: TestTenant, target: object, more: object = {}) =>
  api.call("POST", "/v1/restores/preview", { user: tenant.owner, body: { target, ...more } });

test("the window shows ranges, gaps, bases and freshness; of a source without a capture it is empty", async () => {
  const tenant = await captured(50);
  const key = (await getTenant(api.db.system, tenant.id))?.key ?? "";
  await backup(tenant, 10, 150);
  const second = await backup(tenant, 30, 250);
  await insertGaps(api.db.system, [
    {
      sourceId: tenant.sourceId,
      epoch: 1,
      reason: "table_rewritten",
      tenantKey: key,
      schemaName: "public",
      tableName: "items",
      beginsLsn: lsn(20),
      beginsAt: at(20),
      causeXid: 200n,
      objectKey: `gap of ${tenant.id}`,
    },
  ]);
  const window = await api.call("GET", "/v1/recovery-window", { user: tenant.owner });
  expect([window.statusCode, window.json()]).toMatchObject([
    200,
    {
      ranges: [{ to: micros(20) }, { to: micros(50) }],
      gaps: [{ reason: "table_rewritten", table: "public.items", from: micros(20) }],
      bases: [{ reachesTo: micros(20) }, { backupId: second, reachesTo: micros(50) }],
      freshness: { status: "on", coveredAt: micros(50), problem: null },
    },
  ]);
  expect(window.json().freshness.behindSeconds).toBeGreaterThan(599);
  const inGap = await ask(tenant, { time: iso(25) });
  expect([inGap.statusCode, inGap.json().code]).toEqual([422, "moment_unreachable"]);
  expect(inGap.json().detail).toContain("table_rewritten");
  expect((await ask(tenant, { time: iso(25) }, { tables: ["orders"] })).statusCode).toBe(202);
  expect((await ask(tenant, { time: iso(25) }, { tables: ["public.items"] })).statusCode).toBe(422);

  const other = await api.tenant();
  const empty = await api.call("GET", "/v1/recovery-window", { user: other.owner });
  expect(empty.json()).toMatchObject({ ranges: [], gaps: [], bases: [], freshness: null });
});

test("a gap counts for its table and for those whose rows it tells; the window of chosen tables and a preview of them agree", async () => {
  const tenant = await captured(50);
  await backup(tenant, 10, 150);
  const viaItems = {
    kind: "via",
    path: [{ constraint: "fk", to: { schema: "public", name: "items" }, columns: ["item"], referenced: ["id"] }],
    column: "tenant_id",
  };
  const direct = { kind: "direct", column: "tenant_id" };
  const gap = async (tableName: string, minute: number): Promise<void> =>
    insertGaps(api.db.system, [
      {
        ...{ sourceId: tenant.sourceId, epoch: 1, reason: "table_rewritten", tenantKey: null, schemaName: "public" },
        ...{ tableName, beginsLsn: lsn(minute), beginsAt: at(minute), causeXid: 200n },
        objectKey: `gap of ${tenant.id} ${tableName}`,
      },
    ]);
  await gap("items", 20);
  await gap("elsewhere", 15);
  const until = async (tables: readonly string[]): Promise<[string | undefined, number]> => {
    const query = tables.map((table) => `tables=${table}`).join("&");
    const window = await api.call("GET", `/v1/recovery-window?${query}`, { user: tenant.owner });
    expect(window.statusCode, window.body).toBe(200);
    const preview = await ask(tenant, { time: iso(25) }, tables.length === 0 ? {} : { tables });
    return [window.json().ranges.at(-1)?.to, preview.statusCode];
  };
  const scopes = (orders: object): Promise<void> =>
    replaceProtectedTables(api.db.system, tenant.sourceId, [
      { schemaName: "public", tableName: "orders", scope: orders },
      { schemaName: "public", tableName: "items", scope: direct },
    ]);
  await scopes(direct);
  expect(await until([])).toEqual([micros(15), 422]);
  expect(await until(["orders"])).toEqual([micros(50), 202]);
  expect(await until(["public.items"])).toEqual([micros(20), 422]);
  expect(await until(["orders", "items"])).toEqual([micros(20), 422]);
  await scopes(viaItems);
  expect(await until(["orders"])).toEqual([micros(20), 422]);
  // What tells whose the rows are is not known: any gap counts.
  await replaceProtectedTables(api.db.system, tenant.sourceId, []);
  expect(await until(["orders"])).toEqual([micros(15), 422]);
  const unknown = await api.call("GET", "/v1/recovery-window?tables=nowhere", { user: tenant.owner });
  expect([unknown.statusCode, unknown.json().code]).toEqual([400, "unknown_table"]);
});

test("a preview of a moment records its base and what it aims at", async () => {
  const tenant = await captured(50);
  const first = await backup(tenant, 10, 150);
  await backup(tenant, 30, 250);
  const response = await ask(tenant, { time: iso(20) }, { mode: "missing_only" });
  expect(response.statusCode).toBe(202);
  expect(await getRestore(api.db.system, runOf(response).id)).toMatchObject({
    backupId: first,
    mode: "missing_only",
    moment: { asked: { time: iso(20) }, limit: { kind: "time", at: at(20).toString() } },
  });
  const seen = await api.call("GET", `/v1/restores/${runOf(response).id}`, { user: tenant.owner });
  expect(seen.json()).toMatchObject({ backupId: first, moment: { asked: { time: iso(20) } } });
});

test.each([
  ["a day that no calendar has", { time: "2026-02-30T10:00:00Z" }, 400, "invalid_request"],
  ["a time without a zone", { time: "2026-02-20T10:00:00" }, 400, "invalid_request"],
  ["the future", { time: "2999-01-01T00:00:00Z" }, 400, "invalid_request"],
  ["what was before the first backup", { time: iso(1) }, 422, "moment_unreachable"],
  ["what is not captured yet", { time: iso(55) }, 422, "moment_unreachable"],
  ["a position behind the log", { lsn: "FFFFFFFF/0" }, 422, "moment_unreachable"],
  ["what is no position", { lsn: "nowhere" }, 400, "invalid_request"],
  ["an unknown restore point", { restorePoint: "none" }, 404, "not_found"],
  ["two targets", { time: iso(20), lsn: "0/1" }, 400, "invalid_request"],
])("a preview refuses %s", async (_, target, status, code) => {
  const tenant = await captured(50);
  await backup(tenant, 10, 150);
  const response = await ask(tenant, target);
  expect([response.statusCode, response.json().code]).toEqual([status, code]);
  if (code === "moment_unreachable") expect(response.json().detail).toContain(micros(50));
});

test("a preview takes either a backup or a target", async () => {
  const tenant = await captured(50);
  const backupId = await backup(tenant, 10, 150);
  expect((await ask(tenant, { time: iso(20) }, { backupId })).statusCode).toBe(400);
  expect((await api.call("POST", "/v1/restores/preview", { user: tenant.owner, body: {} })).statusCode).toBe(400);
});

test("a restore point is a name for a place in the WAL, once, and of its tenant", async () => {
  const tenant = await captured(50);
  const base = await backup(tenant, 10, 150);
  const body = { name: "before the import" };
  const response = await api.call("POST", "/v1/restore-points", { user: tenant.owner, body });
  expect([response.statusCode, runOf(response).kind]).toEqual([202, "restore_point"]);
  const { id } = runOf(response);
  expect((await ask(tenant, { restorePoint: body.name })).statusCode).toBe(404);
  const claim = await claimRun(api.db.system, { runId: id, worker: "w", leaseMs: 60_000 });
  await succeedRestorePointRun(
    api.db.system,
    { runId: id, attemptToken: claim?.attemptToken ?? "" },
    { lsn: lsn(20), at: at(20) },
    null,
  );
  const listed = await api.call("GET", "/v1/restore-points", { user: tenant.owner });
  expect(listed.json().items).toMatchObject([
    { id, name: body.name, status: "succeeded", lsn: lsn(20), at: micros(20) },
  ]);
  const preview = await ask(tenant, { restorePoint: body.name });
  expect(await getRestore(api.db.system, runOf(preview).id)).toMatchObject({
    backupId: base,
    moment: { limit: { kind: "lsn", lsn: lsn(20) } },
  });
  expect((await api.call("POST", "/v1/restore-points", { user: tenant.owner, body })).statusCode).toBe(409);
  const other = await captured(50);
  expect((await ask(other, { restorePoint: body.name })).statusCode).toBe(404);
});

test("a history is a run over the oldest base that the log goes on from", async () => {
  const tenant = await captured(50);
  const path = "/v1/history?table=orders&key=7&key=8&limit=5";
  expect((await api.call("GET", path, { user: tenant.owner })).json().code).toBe("moment_unreachable");
  const base = await backup(tenant, 10, 150);
  await backup(tenant, 30, 250);
  const response = await api.call("GET", path, { user: tenant.owner });
  expect(response.statusCode).toBe(202);
  const { rows } = await api.db.system.query({
    text: "SELECT kind, params FROM runs WHERE id = $1",
    values: [runOf(response).id],
  });
  expect(rows).toEqual([
    {
      kind: "history",
      params: { table: "public.orders", key: ["7", "8"], backupId: base, epoch: 1, limit: 5, after: null },
    },
  ]);
  const unknown = await api.call("GET", "/v1/history?table=nowhere&key=1", { user: tenant.owner });
  expect([unknown.statusCode, unknown.json().code]).toEqual([400, "unknown_table"]);
});
