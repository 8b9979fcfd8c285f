import { randomUUID } from "node:crypto";
import { claimRun, recordPreRestoreBackup, succeedRestoreRun } from "@rowback/db";
import { afterAll, beforeAll, expect, test } from "vitest";
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

async function backup({ owner }: TestTenant): Promise<string> {
  const { id } = runOf(await api.call("POST", "/v1/backups", { user: owner, body: {} }));
  await finishBackup(api.db, id);
  return id;
}

async function preview(tenant: TestTenant, body: object = {}): Promise<string> {
  const backupId = await backup(tenant);
  const { id } = runOf(
    await api.call("POST", "/v1/restores/preview", { user: tenant.owner, body: { backupId, ...body } }),
  );
  await finishRestore(api.db, id, DIGEST);
  return id;
}

test("a preview names the backup's own tables, and its plan is at hand when it succeeded", async () => {
  const tenant = await api.tenant();
  const backupId = await backup(tenant);
  const body = { backupId, mode: "missing_only", tables: ["orders"], keys: [{ table: "items", keys: [["1"], ["2"]] }] };
  const response = await api.call("POST", "/v1/restores/preview", { user: tenant.owner, body });
  expect([response.statusCode, runOf(response).kind]).toEqual([202, "restore_preview"]);
  const id = runOf(response).id;
  await finishRestore(api.db, id, DIGEST);
  const seen = await api.call("GET", `/v1/restores/${id}`, { user: tenant.owner });
  expect(seen.json()).toMatchObject({
    status: "succeeded",
    backupId,
    mode: "missing_only",
    tables: ["public.orders"],
    keys: [{ table: "public.items", keys: [["1"], ["2"]] }],
    planDigest: DIGEST,
    result: { digest: DIGEST },
    targetSourceId: tenant.sourceId,
  });
  const listed = await api.call("GET", "/v1/restores?kind=restore_preview", { user: tenant.owner });
  expect(listed.json().items.map((item: { id: string }) => item.id)).toEqual([id]);
});

test("a restore applies an agreed plan once; a second one of the tenant answers 409", async () => {
  const tenant = await api.tenant();
  const previewId = await preview(tenant);
  const headers = { "idempotency-key": "once" };
  const body = { previewId, planDigest: DIGEST };
  const first = await api.call("POST", "/v1/restores", { user: tenant.owner, headers, body });
  expect([first.statusCode, runOf(first).kind]).toEqual([202, "restore"]);
  const again = await api.call("POST", "/v1/restores", { user: tenant.owner, headers, body });
  expect([again.statusCode, runOf(again).id]).toEqual([202, runOf(first).id]);
  const second = await api.call("POST", "/v1/restores", { user: tenant.owner, body });
  expect([second.statusCode, second.json().code, second.json().runId]).toEqual([
    409,
    "restore_in_progress",
    runOf(first).id,
  ]);
  const other = await api.tenant();
  const elsewhere = await api.call("POST", "/v1/restores", {
    user: other.owner,
    body: { previewId: await preview(other), planDigest: DIGEST },
  });
  expect(elsewhere.statusCode).toBe(202);
});

test("of two restores at the very same time, one is accepted", async () => {
  const tenant = await api.tenant();
  const previewId = await preview(tenant);
  const answers = await Promise.all(
    Array.from({ length: 8 }, () =>
      api.call("POST", "/v1/restores", { user: tenant.owner, body: { previewId, planDigest: DIGEST } }),
    ),
  );
  expect(answers.map(({ statusCode }) => statusCode).toSorted()).toEqual([202, ...Array(7).fill(409)]);
});

test("a plan that nobody was shown is refused", async () => {
  const tenant = await api.tenant();
  const previewId = await preview(tenant);
  const stale = await api.call("POST", "/v1/restores", {
    user: tenant.owner,
    body: { previewId, planDigest: "e".repeat(64) },
  });
  expect([stale.statusCode, stale.json().code, stale.json().runId]).toEqual([409, "plan_stale", previewId]);
  const backupId = await backup(tenant);
  const unfinished = runOf(await api.call("POST", "/v1/restores/preview", { user: tenant.owner, body: { backupId } }));
  const early = await api.call("POST", "/v1/restores", {
    user: tenant.owner,
    body: { previewId: unfinished.id, planDigest: DIGEST },
  });
  expect([early.statusCode, early.json().code]).toEqual([409, "conflict"]);
});

test("a restore is undone from the backup that was made before it", async () => {
  const tenant = await api.tenant();
  const preRestore = await backup(tenant);
  const restore = runOf(
    await api.call("POST", "/v1/restores", {
      user: tenant.owner,
      body: { previewId: await preview(tenant), planDigest: DIGEST },
    }),
  ).id;
  const undo = () => api.call("POST", `/v1/restores/${restore}/undo`, { user: tenant.owner });
  expect((await undo()).statusCode).toBe(409);
  const run = await claimRun(api.db.system, { runId: restore, worker: "test", leaseMs: 60_000 });
  if (run === null) throw new Error("not claimed");
  const claim = { runId: restore, attemptToken: run.attemptToken };
  await recordPreRestoreBackup(api.db.system, claim, preRestore);
  await succeedRestoreRun(api.db.system, claim, { result: {}, planDigest: DIGEST, changes: [], fingerprintsAfter: {} });

  const undone = await undo();
  expect([undone.statusCode, runOf(undone).kind]).toEqual([202, "restore"]);
  const seen = await api.call("GET", `/v1/restores/${runOf(undone).id}`, { user: tenant.owner });
  expect(seen.json()).toMatchObject({ undoOf: restore, backupId: preRestore, mode: "exact" });
  await api.call("POST", `/v1/restores/${runOf(undone).id}/cancel`, { user: tenant.owner });
  await api.call("DELETE", `/v1/backups/${preRestore}`, { user: tenant.owner });
  expect((await undo()).json().detail).toContain("deleted");
});

test("a member may take a preview of his back, but not a restore", async () => {
  const tenant = await api.tenant();
  await api.member(tenant.id, "mia", "member");
  const backupId = await backup(tenant);
  const previewing = runOf(await api.call("POST", "/v1/restores/preview", { user: "mia", body: { backupId } })).id;
  const cancelled = await api.call("POST", `/v1/restores/${previewing}/cancel`, { user: "mia" });
  expect([cancelled.statusCode, runOf(cancelled).status]).toEqual([202, "cancelled"]);
  const restore = runOf(
    await api.call("POST", "/v1/restores", {
      user: tenant.owner,
      body: { previewId: await preview(tenant), planDigest: DIGEST },
    }),
  ).id;
  expect((await api.call("POST", `/v1/restores/${restore}/cancel`, { user: "mia" })).statusCode).toBe(403);
  expect((await api.call("POST", `/v1/restores/${restore}/cancel`, { user: tenant.owner })).statusCode).toBe(202);
});

test("only an operator who is a member sends a tenant's rows into another source, and nobody else learns which exist", async () => {
  const tenant = await api.tenant();
  const backupId = await backup(tenant);
  const target = await api.source();
  const ask = (user: string, targetSourceId: string) =>
    api.call("POST", "/v1/restores/preview", { user, body: { backupId, targetSourceId } });
  const [known, unknown] = [await ask(tenant.owner, target), await ask(tenant.owner, randomUUID())];
  expect(known.statusCode).toBe(403);
  expect({ ...known.json(), requestId: "" }).toEqual({ ...unknown.json(), requestId: "" });
  await api.member(tenant.id, "olga", "admin");
  expect((await ask("olga", target)).statusCode).toBe(202);
  expect((await ask("olga", randomUUID())).statusCode).toBe(404);
});
