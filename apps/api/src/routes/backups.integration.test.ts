import { randomUUID } from "node:crypto";
import { listAuditEntries, updateTenantSettings, withTenant } from "@rowback/db";
import { afterAll, beforeAll, expect, test } from "vitest";
import { breakRun, finishBackup, runOf, startTestApi, type TestApi, type TestTenant } from "../testing/test-api.ts";

let api: TestApi;
let tenant: TestTenant;
beforeAll(async () => {
  api = await startTestApi();
  tenant = await api.tenant();
  // The rate limit has tests of its own.
  await updateTenantSettings(api.db.system, tenant.id, { backupsPerHour: 1_000 });
});
afterAll(() => api.close());

async function createBackup(owner: string, body?: unknown): Promise<string> {
  return runOf(await api.call("POST", "/v1/backups", { user: owner, body })).id;
}

test("a backup is a row, a job and an audit entry, and answers 202 with the run", async () => {
  const response = await api.call("POST", "/v1/backups", {
    user: tenant.owner,
    body: { tables: ["orders", "billing.items"] },
  });
  expect(response.statusCode).toBe(202);
  const run = runOf(response);
  expect(run).toMatchObject({ kind: "backup", status: "queued", tenantId: tenant.id, requestedBy: tenant.owner });
  expect(response.headers["location"]).toBe(`/v1/runs/${run.id}`);

  const backup = await api.call("GET", `/v1/backups/${run.id}`, { user: tenant.owner });
  expect(backup.json()).toMatchObject({
    status: "queued",
    requestedTables: ["public.orders", "billing.items"],
    type: "full",
  });

  const jobs = await Promise.all(api.deps.queues.queues.map((queue) => queue.getJob(run.id)));
  expect(jobs.filter((job) => job !== undefined).map((job) => job.data)).toEqual([{ runId: run.id }]);

  const entries = (await listAuditEntries(api.db.system, tenant.id, { action: "backup.create" })).items;
  expect(entries[0]).toMatchObject({ action: "backup.create", userId: tenant.owner, runId: run.id, ip: "127.0.0.1" });
});

test("no body backs up everything", async () => {
  const id = await createBackup(tenant.owner);
  const backup = await api.call("GET", `/v1/backups/${id}`, { user: tenant.owner });
  expect(backup.json()).toMatchObject({ requestedTables: null });
});

test("the same Idempotency-Key gives the same run once; with another request it is refused", async () => {
  const headers = { "idempotency-key": randomUUID() };
  const first = await api.call("POST", "/v1/backups", { user: tenant.owner, headers, body: { tables: ["orders"] } });
  const again = await api.call("POST", "/v1/backups", {
    user: tenant.owner,
    headers,
    body: { type: "full", tables: ["orders"] },
  });
  expect([first.statusCode, again.statusCode]).toEqual([202, 202]);
  expect(runOf(again).id).toBe(runOf(first).id);
  const other = await api.call("POST", "/v1/backups", { user: tenant.owner, headers, body: {} });
  expect([other.statusCode, other.json().code, other.json().runId]).toEqual([
    409,
    "idempotency_conflict",
    runOf(first).id,
  ]);
  const entries = (await listAuditEntries(api.db.system, tenant.id, {}, { limit: 500 })).items;
  expect(entries.filter(({ runId }) => runId === runOf(first).id)).toHaveLength(1);
});

test("twenty sendings at once make one run", async () => {
  const headers = { "idempotency-key": randomUUID() };
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => api.call("POST", "/v1/backups", { user: tenant.owner, headers, body: {} })),
  );
  expect(new Set(answers.map((answer) => answer.statusCode))).toEqual(new Set([202]));
  expect(new Set(answers.map((answer) => runOf(answer).id)).size).toBe(1);
});

test("the list filters by status, type and time, and pages by cursor without gaps or repeats", async () => {
  const { owner } = await api.tenant();
  const ids: string[] = [];
  for (let index = 0; index < 7; index += 1) ids.push(await createBackup(owner));
  const [done, broken] = ids;
  if (done === undefined || broken === undefined) throw new Error("no backups");
  await finishBackup(api.db, done);
  await breakRun(api.db, broken, "source_auth_failed");

  const paged: string[] = [];
  let path = "/v1/backups?limit=3";
  while (path !== "") {
    const page = (await api.call("GET", path, { user: owner })).json<{
      items: { id: string }[];
      next: string | null;
    }>();
    expect(page.items.length).toBeLessThanOrEqual(3);
    paged.push(...page.items.map(({ id }) => id));
    path = page.next === null ? "" : `/v1/backups?limit=3&cursor=${encodeURIComponent(page.next)}`;
  }
  expect(paged).toEqual(ids.toReversed());

  const found = async (query: string): Promise<string[]> =>
    (await api.call("GET", `/v1/backups?${query}`, { user: owner }))
      .json<{ items: { id: string }[] }>()
      .items.map(({ id }) => id);
  expect(await found("status=succeeded")).toEqual([done]);
  expect(await found("status=failed&type=full")).toEqual([broken]);
  expect(await found("type=incremental")).toEqual([]);
  expect(await found(`from=${encodeURIComponent(new Date(Date.now() + 60_000).toISOString())}`)).toEqual([]);
  expect(await found(`to=${encodeURIComponent("2026-01-01T01:00:00+01:00")}`)).toEqual([]);
  expect(await found(`from=${encodeURIComponent("2026-01-01T01:00:00+01:00")}`)).toHaveLength(7);
});

test("a backup is deleted, shown on request, and undeleted", async () => {
  const id = await createBackup(tenant.owner);
  const early = await api.call("DELETE", `/v1/backups/${id}`, { user: tenant.owner });
  expect([early.statusCode, early.json().code]).toEqual([409, "conflict"]);
  await finishBackup(api.db, id);
  const deleted = await api.call("DELETE", `/v1/backups/${id}`, { user: tenant.owner });
  expect(deleted.json().deletedAt).toEqual(expect.any(String));
  const listed = async (query: string): Promise<boolean> =>
    (await api.call("GET", `/v1/backups${query}`, { user: tenant.owner })).body.includes(id);
  expect([await listed(""), await listed("?deleted=true")]).toEqual([false, true]);
  expect((await api.call("POST", `/v1/backups/${id}/verify`, { user: tenant.owner })).statusCode).toBe(409);
  const undeleted = await api.call("POST", `/v1/backups/${id}/undelete`, { user: tenant.owner });
  expect(undeleted.json().deletedAt).toBeNull();
  expect(await listed("")).toBe(true);
});

test("a backup that others stand on is not deleted", async () => {
  const base = await createBackup(tenant.owner);
  await finishBackup(api.db, base);
  const child = await createBackup(tenant.owner);
  await withTenantless(
    `UPDATE backup_jobs SET type = 'incremental', parent_backup_id = '${base}', base_backup_id = '${base}' WHERE run_id = '${child}'`,
  );
  const refused = await api.call("DELETE", `/v1/backups/${base}`, { user: tenant.owner });
  expect([refused.statusCode, refused.json().code]).toEqual([409, "conflict"]);
  expect(refused.json().detail).toContain(child);
});

async function withTenantless(text: string): Promise<void> {
  await api.db.system.query({ text });
}

test("a queued backup is cancelled at once, and an ended one can't be", async () => {
  const id = await createBackup(tenant.owner);
  const cancelled = await api.call("POST", `/v1/backups/${id}/cancel`, { user: tenant.owner });
  expect([cancelled.statusCode, runOf(cancelled).status]).toEqual([202, "cancelled"]);
  const again = await api.call("POST", `/v1/backups/${id}/cancel`, { user: tenant.owner });
  expect([again.statusCode, again.json().code]).toEqual([409, "conflict"]);
});

test("a whole backup can be verified; one that failed can't", async () => {
  const [whole, broken] = [await createBackup(tenant.owner), await createBackup(tenant.owner)];
  await finishBackup(api.db, whole);
  await breakRun(api.db, broken, "store_denied");
  const run = runOf(await api.call("POST", `/v1/backups/${whole}/verify`, { user: tenant.owner }));
  expect(run).toMatchObject({ kind: "backup_verify", status: "queued" });
  expect((await api.call("POST", `/v1/backups/${broken}/verify`, { user: tenant.owner })).statusCode).toBe(409);
});

test("Prefer: wait answers with the ended run, its problem, or 202 when the time is over", async () => {
  const tenant = await api.tenant();
  const wait = (seconds: number) =>
    api.call("POST", "/v1/backups", { user: tenant.owner, headers: { prefer: `wait=${seconds}` }, body: {} });
  const queued = async (): Promise<string> => {
    const newest = async (): Promise<{ id: string; status: string }[]> =>
      (await api.call("GET", "/v1/backups?limit=1", { user: tenant.owner })).json<{
        items: { id: string; status: string }[];
      }>().items;
    await expect.poll(async () => (await newest())[0]?.status).toBe("queued");
    return (await newest())[0]?.id ?? "";
  };
  const good = wait(30);
  await finishBackup(api.db, await queued());
  expect([(await good).statusCode, runOf(await good).status, (await good).headers["preference-applied"]]).toEqual([
    200,
    "succeeded",
    "wait=30",
  ]);

  const bad = wait(30);
  await breakRun(api.db, await queued(), "source_auth_failed");
  expect((await bad).statusCode).toBe(422);
  expect((await bad).json()).toMatchObject({
    code: "source_auth_failed",
    detail: "it broke",
    hint: "mend it",
    tenantId: tenant.id,
  });

  expect((await wait(1)).statusCode).toBe(202);
});

test("when Redis is away, the run is accepted and its row waits for the sweeper", async () => {
  const { enqueue } = api.deps.producer;
  Object.assign(api.deps.producer, { enqueue: () => Promise.reject(new Error("Redis is away")) });
  const response = await api
    .call("POST", "/v1/backups", { user: tenant.owner, body: {} })
    .finally(() => Object.assign(api.deps.producer, { enqueue }));
  expect(response.statusCode).toBe(202);
  const row = await withTenant(api.db, tenant.id, (client) =>
    client.query({ text: "SELECT status FROM runs WHERE id = $1", values: [runOf(response).id] }),
  );
  expect(row.rows).toEqual([{ status: "queued" }]);
});
