import { randomBytes, randomUUID } from "node:crypto";
import { cp, readdir } from "node:fs/promises";
import {
  destroyTenantKey,
  getBackup,
  getErasure,
  insertErasure,
  insertRun,
  insertTenant,
  listAuditEntries,
  markTenantErased,
  type Run,
  updateSource,
  withSystem,
} from "@rowback/db";
import { JOBS } from "@rowback/jobs";
import { testFolder } from "@rowback/local-services/testing";
import { parseMasterKeys, verifyBackup } from "@rowback/recovery";
import { ErasureCertificate, erasureCertificate } from "@rowback/recovery/plans";
import { openStore } from "@rowback/storage";
import { expect, test } from "vitest";
import { openKeyRing } from "./key-ring.ts";
import type { MasterKeySource } from "./read-master-keys.ts";
import { MISTAKE, type Shop, shop } from "./testing/shop.ts";

const KEY = randomBytes(32).toString("base64");
const masterKeys: MasterKeySource = { kind: "value", text: KEY };

function rootOf({ config: { store } }: Shop): string {
  if (store.driver !== "filesystem") throw new Error("a folder was expected");
  return store.root;
}

async function objects(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => `${parentPath}/${name}`);
}

/** What POST /v1/tenants/:id/erase does in its transaction. */
async function erase({ db, tenantId, sourceId }: Shop): Promise<Run> {
  const asked = { kind: "tenant_erase", tenantId, sourceId, maxAttempts: JOBS.tenant_erase.attempts } as const;
  return await withSystem(db, async (client) => {
    const erasedAt = await markTenantErased(client, tenantId);
    const result = await insertRun(client, { ...asked, requestedBy: "olga", params: {} });
    if (result.outcome !== "created" || erasedAt === null) throw new Error("it was erased before");
    const { id: runId } = result.run;
    await destroyTenantKey(client, tenantId, randomUUID());
    const certificate = erasureCertificate({
      tenant: { id: tenantId, name: "Acme" },
      source: { id: sourceId, name: "source" },
      runId,
      erasedAt: erasedAt.toISOString(),
      erasedBy: "olga",
      dataKey: null,
      backups: { encrypted: 1, inClear: 1, storedBytes: 1 },
    });
    await insertErasure(client, { tenantId, runId, certificate });
    return result.run;
  });
}

test("an erased tenant's objects are unreadable wherever they are, then purged; another tenant's stay", async () => {
  const at = await shop("erasure");
  const other = await insertTenant(at.db.system, { sourceId: at.sourceId, key: "zenith", name: "Zenith" });
  await at.start({}, { masterKeys });
  await at.backup();
  await updateSource(at.db.system, at.sourceId, { encryption: true });
  const sealed = await at.backup();
  await at.source.pool.query(MISTAKE);
  const preview = await at.preview(sealed.id);
  expect(JSON.stringify(preview.result)).toContain("customer 2");
  const theirs = `${rootOf(at)}/tenants/${other?.id}/backups/${randomUUID()}`;
  await cp(`${rootOf(at)}/tenants/${at.tenantId}/backups/${sealed.id}`, theirs, { recursive: true });

  // Somebody keeps a copy of every object, and a worker its master key.
  const copy = testFolder();
  await cp(rootOf(at), copy, { recursive: true });
  const { signal } = new AbortController();
  const kept = {
    store: openStore({ driver: "filesystem", root: copy }),
    signal,
    keys: openKeyRing(at.db.system, parseMasterKeys(KEY), "worker-1"),
  };
  const id = { tenantId: at.tenantId, backupId: sealed.id };
  expect((await verifyBackup(kept, id)).rowCount).toBeGreaterThan(0);

  const run = await erase(at);
  await expect(verifyBackup(kept, id)).rejects.toMatchObject({ code: "key_missing", retryable: false });
  await at.enqueue(run);
  const done = await at.until(run.id, "succeeded");
  const { digest } = ErasureCertificate.parse((await getErasure(at.db.system, at.tenantId))?.certificate);
  expect(done.result).toMatchObject({ objects: 4, certificateDigest: digest });
  expect((await objects(rootOf(at))).filter((path) => path.includes(at.tenantId))).toEqual([]);
  expect((await objects(theirs)).length).toBe(2);
  expect((await getErasure(at.db.system, at.tenantId))?.purgedAt).toBeInstanceOf(Date);
  expect((await getBackup(at.db.system, sealed.id))?.purgedAt).toBeInstanceOf(Date);
  expect((await at.run(preview.id)).result).toBeNull();
  const entries = (await listAuditEntries(at.db.system, at.tenantId)).items;
  const purges = entries.filter(({ action }) => action === "tenant.purge");
  expect(purges).toMatchObject([
    { userId: "olga", runId: run.id, after: { purged: true, objects: 4, worker: "test-worker" } },
  ]);

  const refused = await at.until((await at.ask({ kind: "backup" })).id, "failed");
  expect(refused).toMatchObject({ attempt: 1, error: { code: "conflict" } });
  expect((await objects(rootOf(at))).filter((path) => path.includes(at.tenantId))).toEqual([]);
});

test("the purge waits for runs that have not ended, without giving up", async () => {
  const at = await shop("erasure-waits");
  const stuck = await at.insert({ kind: "backup" });
  const run = await erase(at);
  // Put back by hand: as if its worker had not heard of the cancellation yet.
  await at.db.system.query({
    text: `INSERT INTO runs (id, kind, tenant_id, source_id, max_attempts, requested_by, available_at)
SELECT gen_random_uuid(), kind, tenant_id, source_id, 1, requested_by, now() + interval '1 hour' FROM runs WHERE id = $1`,
    values: [stuck.id],
  });
  await at.start({}, { masterKeys });
  await at.enqueue(run);
  await expect
    .poll(async () => (await at.run(run.id)).error, { timeout: 20_000 })
    .toMatchObject({ code: "conflict", retryable: true });
  expect((await getErasure(at.db.system, at.tenantId))?.purgedAt).toBeNull();
});
