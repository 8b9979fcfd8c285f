import { randomUUID } from "node:crypto";
import { claimRun, recordPreRestoreBackup, succeedRestoreRun } from "@rowback/db";
import { afterAll, beforeAll, expect, test } from "vitest";
import { finishBackup, finishRestore, runOf, startTestApi, type TestApi, type TestTenant } from "./testing/test-api.ts";

const DIGEST = "d".repeat(64);
let api: TestApi;
let tenant: TestTenant;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

async function backup(): Promise<string> {
  const { id } = runOf(await api.call("POST", "/v1/backups", { user: tenant.owner, body: {} }));
  await finishBackup(api.db, id);
  return id;
}

/** Sends the request, changes the world, and sends it again: the same run, answered the same way. */
async function sentTwice(path: string, body: object | undefined, between: (runId: string) => Promise<void>) {
  const request = {
    user: tenant.owner,
    headers: { "idempotency-key": randomUUID() },
    ...(body === undefined ? {} : { body }),
  };
  const first = await api.call("POST", path, request);
  expect([first.statusCode, first.body]).toEqual([202, expect.anything()]);
  await between(runOf(first).id);
  const fresh = await api.call("POST", path, { ...request, headers: { "idempotency-key": randomUUID() } });
  const again = await api.call("POST", path, request);
  expect(again.statusCode).toBe(202);
  expect(runOf(again).id).toBe(runOf(first).id);
  // The same request with a new key meets the changed world.
  return fresh;
}

async function deleteBackup(id: string): Promise<void> {
  expect((await api.call("DELETE", `/v1/backups/${id}`, { user: tenant.owner })).statusCode).toBe(200);
}

test("a verification that is asked for again gives its run, though the backup was deleted meanwhile", async () => {
  tenant = await api.tenant();
  const id = await backup();
  const fresh = await sentTwice(`/v1/backups/${id}/verify`, undefined, () => deleteBackup(id));
  expect([fresh.statusCode, fresh.json().code]).toEqual([409, "conflict"]);
});

test("a preview that is asked for again gives its run, though the backup was deleted meanwhile", async () => {
  tenant = await api.tenant();
  const backupId = await backup();
  const fresh = await sentTwice("/v1/restores/preview", { backupId }, () => deleteBackup(backupId));
  expect([fresh.statusCode, fresh.json().code]).toEqual([409, "conflict"]);
});

test("a restore that is asked for again gives its run, though the backup was deleted meanwhile", async () => {
  tenant = await api.tenant();
  const backupId = await backup();
  const { id: previewId } = runOf(
    await api.call("POST", "/v1/restores/preview", { user: tenant.owner, body: { backupId } }),
  );
  await finishRestore(api.db, previewId, DIGEST);
  const fresh = await sentTwice("/v1/restores", { previewId, planDigest: DIGEST }, () => deleteBackup(backupId));
  expect([fresh.statusCode, fresh.json().code]).toEqual([409, "conflict"]);
});

test("an undo that is asked for again gives its run, though its backup was deleted meanwhile", async () => {
  tenant = await api.tenant();
  const backupId = await backup();
  const { id: previewId } = runOf(
    await api.call("POST", "/v1/restores/preview", { user: tenant.owner, body: { backupId } }),
  );
  await finishRestore(api.db, previewId, DIGEST);
  const { id } = runOf(
    await api.call("POST", "/v1/restores", { user: tenant.owner, body: { previewId, planDigest: DIGEST } }),
  );
  const held = await claimRun(api.db.system, { runId: id, worker: "test", leaseMs: 60_000 });
  const claim = { runId: id, attemptToken: held?.attemptToken ?? "" };
  const before = await backup();
  expect(await recordPreRestoreBackup(api.db.system, claim, before)).toBe(true);
  const outcome = { result: null, planDigest: DIGEST, changes: [], fingerprintsAfter: null };
  expect(await succeedRestoreRun(api.db.system, claim, outcome)).toBe(true);
  const fresh = await sentTwice(`/v1/restores/${id}/undo`, {}, () => deleteBackup(before));
  expect([fresh.statusCode, fresh.json().code]).toEqual([409, "conflict"]);
});

test("a backup of named tables that is asked for again gives its run, though the tables are known no longer", async () => {
  tenant = await api.tenant();
  const fresh = await sentTwice("/v1/backups", { tables: ["orders"] }, async () => {
    await api.db.system.query({ text: "DELETE FROM protected_tables WHERE source_id = $1", values: [tenant.sourceId] });
  });
  expect([fresh.statusCode, fresh.json().code]).toEqual([400, "unknown_table"]);
});

test("a key is its user's and its tenant's: nobody else's sending meets it", async () => {
  tenant = await api.tenant();
  await api.member(tenant.id, "bob", "owner");
  const headers = { "idempotency-key": randomUUID() };
  const mine = runOf(await api.call("POST", "/v1/backups", { user: tenant.owner, headers, body: {} }));
  const bobs = runOf(await api.call("POST", "/v1/backups", { user: "bob", headers, body: {} }));
  const elsewhere = await api.tenant();
  const others = runOf(await api.call("POST", "/v1/backups", { user: elsewhere.owner, headers, body: {} }));
  expect(new Set([mine.id, bobs.id, others.id]).size).toBe(3);
});
