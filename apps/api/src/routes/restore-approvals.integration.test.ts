import { claimRun, insertApiKey, recordPreRestoreBackup, succeedRestoreRun, withTenant } from "@rowback/db";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { newApiKey } from "../auth/api-key.ts";
import {
  finishBackup,
  finishRestore,
  runOf,
  startTestApi,
  type TestApi,
  type TestTenant,
} from "../testing/test-api.ts";

const DIGEST = "d".repeat(64);
let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

/** A tenant with a second admin, `<owner>-2`, that asks for a second person. */
async function carefulTenant(): Promise<TestTenant & { second: string }> {
  const tenant = await api.tenant();
  const second = `${tenant.owner}-2`;
  await api.member(tenant.id, second, "admin");
  const body = { restoresNeedApproval: true };
  const set = await api.call("PATCH", "/v1/settings", { user: tenant.owner, body });
  expect([set.statusCode, set.json().restoresNeedApproval]).toEqual([200, true]);
  return { ...tenant, second };
}

async function backup({ owner }: TestTenant): Promise<string> {
  const { id } = runOf(await api.call("POST", "/v1/backups", { user: owner, body: {} }));
  await finishBackup(api.db, id);
  return id;
}

async function askFor(tenant: TestTenant, headers: Record<string, string> = {}) {
  const backupId = await backup(tenant);
  const preview = runOf(await api.call("POST", "/v1/restores/preview", { user: tenant.owner, body: { backupId } }));
  await finishRestore(api.db, preview.id, DIGEST);
  const body = { previewId: preview.id, planDigest: DIGEST };
  return api.call("POST", "/v1/restores", { user: tenant.owner, headers, body });
}

async function waiting(tenant: TestTenant): Promise<string> {
  const asked = await askFor(tenant);
  expect([asked.statusCode, runOf(asked).status]).toEqual([202, "awaiting_approval"]);
  return runOf(asked).id;
}

async function jobsOf(runId: string): Promise<number> {
  const jobs = await Promise.all(api.deps.queues.queues.map((queue) => queue.getJob(runId)));
  return jobs.filter((job) => job !== undefined).length;
}

const approve = (id: string, user: string, body?: object) =>
  api.call("POST", `/v1/restores/${id}/approve`, { user, body });
const reject = (id: string, user: string, body?: object) =>
  api.call("POST", `/v1/restores/${id}/reject`, { user, body });
const approvalOf = async (id: string, user: string) =>
  (await api.call("GET", `/v1/restores/${id}`, { user })).json().approval;

const Entries = z.array(z.object({ action: z.string(), userId: z.string(), after: z.unknown() }));
/** The deeds on a run, oldest first. */
async function deedsOn(runId: string): Promise<z.infer<typeof Entries>> {
  const { rows } = await api.db.system.query({
    text: `SELECT action, user_id AS "userId", after FROM audit_log WHERE run_id = $1 AND action NOT LIKE '%.read' ORDER BY id`,
    values: [runId],
  });
  return Entries.parse(rows);
}

test("a restore waits outside the queue until another person who may restore agrees", async () => {
  const tenant = await carefulTenant();
  const asked = await askFor(tenant, { prefer: "wait=30", "idempotency-key": "k" });
  expect([asked.statusCode, runOf(asked).status]).toEqual([202, "awaiting_approval"]);
  const { id } = runOf(asked);
  expect(await jobsOf(id)).toBe(0);
  expect(await approvalOf(id, tenant.owner)).toMatchObject({ state: "waiting", decidedBy: null });
  const listed = await api.call("GET", "/v1/restores?status=awaiting_approval", { user: tenant.second });
  expect(listed.json().items.map((item: { id: string }) => item.id)).toEqual([id]);

  const own = await approve(id, tenant.owner);
  expect([own.statusCode, own.json().code]).toEqual([403, "forbidden"]);
  for (const role of ["member", "viewer"] as const) {
    await api.member(tenant.id, `${role} of ${tenant.id}`, role);
    expect((await approve(id, `${role} of ${tenant.id}`)).statusCode).toBe(403);
  }
  expect(await jobsOf(id)).toBe(0);

  const agreed = await approve(id, tenant.second, { comment: "looked at the plan" });
  expect([agreed.statusCode, runOf(agreed).status]).toEqual([202, "queued"]);
  expect(await jobsOf(id)).toBe(1);
  expect(await approvalOf(id, tenant.owner)).toMatchObject({
    state: "approved",
    decidedBy: tenant.second,
    comment: "looked at the plan",
  });
  expect(runOf(await approve(id, tenant.second)).id).toBe(id);
  expect((await reject(id, tenant.second)).statusCode).toBe(409);
  expect((await deedsOn(id)).map(({ action, userId }) => [action, userId])).toEqual([
    ["restore.apply", tenant.owner],
    ["restore.approve", tenant.second],
  ]);
});

test("no API key agrees to it, not even another person's", async () => {
  const tenant = await carefulTenant();
  const id = await waiting(tenant);
  const key = newApiKey();
  await withTenant(api.db, tenant.id, (client) =>
    insertApiKey(client, {
      ...key,
      name: "ci",
      scopes: ["restore:apply", "restore:read"],
      createdBy: tenant.second,
      expiresAt: new Date(Date.now() + 60_000),
    }),
  );
  const headers = { authorization: `Bearer ${key.text}` };
  for (const verb of ["approve", "reject"]) {
    const answer = await api.call("POST", `/v1/restores/${id}/${verb}`, { headers });
    expect([verb, answer.statusCode]).toEqual([verb, 403]);
  }
  expect(await approvalOf(id, tenant.owner)).toMatchObject({ state: "waiting" });
  expect((await approve(id, tenant.second)).statusCode).toBe(202);
});

test("an asker who comes by his key can't agree by his token", async () => {
  const tenant = await carefulTenant();
  const key = newApiKey();
  await withTenant(api.db, tenant.id, (client) =>
    insertApiKey(client, {
      ...key,
      name: "ci",
      scopes: ["restore:apply"],
      createdBy: tenant.owner,
      expiresAt: new Date(Date.now() + 60_000),
    }),
  );
  const asked = await askFor(tenant, { authorization: `Bearer ${key.text}` });
  expect(runOf(asked).status).toBe("awaiting_approval");
  expect((await approve(runOf(asked).id, tenant.owner)).statusCode).toBe(403);
});

test("rejected, withdrawn or expired, it is over and was never in the queue", async () => {
  const tenant = await carefulTenant();
  const rejected = await waiting(tenant);
  const answer = await reject(rejected, tenant.second, { comment: "not on a Friday" });
  expect([answer.statusCode, answer.json().status, answer.json().approval.state]).toEqual([
    200,
    "cancelled",
    "rejected",
  ]);
  expect((await approve(rejected, tenant.second)).statusCode).toBe(409);

  const withdrawn = await waiting(tenant);
  const cancelled = await api.call("POST", `/v1/restores/${withdrawn}/cancel`, { user: tenant.owner });
  expect([cancelled.statusCode, runOf(cancelled).status]).toEqual([202, "cancelled"]);
  expect(await approvalOf(withdrawn, tenant.owner)).toMatchObject({ state: "withdrawn" });
  expect((await approve(withdrawn, tenant.second)).statusCode).toBe(409);

  const late = await waiting(tenant);
  await api.db.system.query({
    text: "UPDATE restore_jobs SET approval_expires_at = now() WHERE run_id = $1",
    values: [late],
  });
  expect((await approve(late, tenant.second)).json()).toMatchObject({ status: 409, code: "conflict", runId: late });
  expect(await Promise.all([rejected, withdrawn, late].map(jobsOf))).toEqual([0, 0, 0]);
});

test("an undo is a restore: it waits too", async () => {
  const tenant = await carefulTenant();
  const preRestore = await backup(tenant);
  const id = await waiting(tenant);
  await approve(id, tenant.second);
  const run = await claimRun(api.db.system, { runId: id, worker: "test", leaseMs: 60_000 });
  if (run === null) throw new Error("not claimed");
  const claim = { runId: id, attemptToken: run.attemptToken };
  await recordPreRestoreBackup(api.db.system, claim, preRestore);
  await succeedRestoreRun(api.db.system, claim, { result: {}, planDigest: DIGEST, changes: [], fingerprintsAfter: {} });

  const undo = runOf(await api.call("POST", `/v1/restores/${id}/undo`, { user: tenant.second }));
  expect(undo.status).toBe("awaiting_approval");
  expect((await approve(undo.id, tenant.second)).statusCode).toBe(403);
  expect(runOf(await approve(undo.id, tenant.owner)).status).toBe("queued");
});

test("another tenant's restore is as unknown as none", async () => {
  const [tenant, other] = [await carefulTenant(), await carefulTenant()];
  const id = await waiting(tenant);
  for (const answer of [await approve(id, other.owner), await reject(id, other.owner)]) {
    const unknown = await approve(crypto.randomUUID(), other.owner);
    expect({ ...answer.json(), requestId: "" }).toEqual({ ...unknown.json(), requestId: "" });
    expect(answer.statusCode).toBe(404);
  }
  expect(await approvalOf(id, tenant.owner)).toMatchObject({ state: "waiting" });
});
