import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withSystem } from "../tenant-context.ts";
import { type ControlFixture, controlFixture, createdId, newTenant } from "../testing/control-fixture.ts";
import { succeedBackupRun } from "./backups.ts";
import {
  countStoredBackups,
  finishErasure,
  getErasure,
  hasLiveRuns,
  insertErasure,
  markTenantErased,
} from "./erasures.ts";
import { listMemberships, setMember } from "./members.ts";
import { insertRestoreRun } from "./restores.ts";
import { claimRun } from "./run-claims.ts";
import { getRun, insertRun } from "./runs.ts";
import {
  countKeysByMasterKey,
  destroyTenantKey,
  getTenantKey,
  insertTenantKey,
  listKeysToRewrap,
  rewrapTenantKey,
} from "./tenant-keys.ts";
import { getTenant } from "./tenants.ts";

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("tenant_keys");
});
afterAll(() => control.close());

const OLD = "0".repeat(16);
const NEW = "1".repeat(16);
const WORKER = "worker-1";
const BY = { host: "ops-1", systemUser: "olga" };

function newKey(tenantId: string, masterKeyId = OLD) {
  return { id: randomUUID(), owner: { tenantId }, wrapped: randomBytes(80), masterKeyId };
}

describe("data keys", () => {
  test("an owner has one for good: the first that was kept", async () => {
    const { db, sourceId } = control;
    const tenantId = await newTenant(db, sourceId, randomUUID());
    expect(await getTenantKey(db.system, { tenantId })).toBeNull();
    const [first, second] = [newKey(tenantId), newKey(tenantId)];
    await insertTenantKey(db.system, first, WORKER);
    await insertTenantKey(db.system, second, WORKER);
    expect(await getTenantKey(db.system, { tenantId })).toMatchObject({
      id: first.id,
      wrapped: first.wrapped,
      sourceId: null,
    });
    await insertTenantKey(db.system, { ...newKey(tenantId), owner: { sourceId } }, WORKER);
    expect(await getTenantKey(db.system, { sourceId })).toMatchObject({ sourceId, tenantId: null });
  });

  test("a destroyed key is gone, and no other takes its place", async () => {
    const { db, sourceId } = control;
    for (const had of [true, false]) {
      const tenantId = await newTenant(db, sourceId, randomUUID());
      if (had) await insertTenantKey(db.system, newKey(tenantId), WORKER);
      await destroyTenantKey(db.system, tenantId, randomUUID());
      await insertTenantKey(db.system, newKey(tenantId), WORKER);
      await destroyTenantKey(db.system, tenantId, randomUUID());
      const key = await getTenantKey(db.system, { tenantId });
      expect(key).toMatchObject({ wrapped: null, masterKeyId: null, destroyedAt: expect.any(Date) });
      const { rows } = await control.database.pool.query("SELECT count(*)::int FROM tenant_keys WHERE tenant_id = $1", [
        tenantId,
      ]);
      expect(rows).toEqual([{ count: 1 }]);
    }
  });

  test("rewrapping replaces what is still as it was read, page after page", async () => {
    const { db, sourceId } = control;
    const keys = [];
    for (let n = 0; n < 5; n += 1) {
      const key = newKey(await newTenant(db, sourceId, randomUUID()), "2".repeat(16));
      await insertTenantKey(db.system, key, WORKER);
      keys.push(key);
    }
    const seen: string[] = [];
    for (let after: string | null = null; ; ) {
      const page = await listKeysToRewrap(db.system, { masterKeyId: OLD, after, limit: 2 });
      seen.push(...page.map(({ id }) => id));
      after = page.at(-1)?.id ?? null;
      if (page.length < 2) break;
    }
    expect(seen).toEqual(keys.map(({ id }) => id).toSorted());
    const [first] = keys;
    if (first === undefined) throw new Error("five keys were made");
    const fresh = { id: first.id, wrapped: randomBytes(80), masterKeyId: NEW };
    expect(await rewrapTenantKey(db.system, { ...fresh, fromMasterKeyId: OLD }, BY)).toBe(false);
    expect(await rewrapTenantKey(db.system, { ...fresh, fromMasterKeyId: first.masterKeyId }, BY)).toBe(true);
    expect(await getTenantKey(db.system, first.owner)).toMatchObject({ ...fresh, rewrappedAt: expect.any(Date) });
    expect(await countKeysByMasterKey(db.system)).toContainEqual({ masterKeyId: NEW, keys: 1 });
  });
});

describe("erasure", () => {
  test("ends runs, puts backups past undeleting, takes the tenant from its members, and keeps the certificate", async () => {
    const { db, sourceId } = control;
    const tenantId = await newTenant(db, sourceId, randomUUID());
    const user = randomUUID();
    await setMember(db.system, { userId: user, tenantId, role: "owner" });
    const queued = await control.queuedBackup({ tenantId });
    const running = await control.queuedBackup({ tenantId });
    await claimRun(db.system, { runId: running, worker: "w", leaseMs: 60_000 });
    const runId = createdId(
      await insertRun(db.system, { kind: "tenant_erase", tenantId, sourceId, maxAttempts: 3, requestedBy: "olga" }),
    );
    const certificate = { digest: "x" };
    await withSystem(db, async (client) => {
      expect(await markTenantErased(client, tenantId)).toBeInstanceOf(Date);
      await insertErasure(client, { tenantId, runId, certificate });
    });
    expect(await withSystem(db, (client) => markTenantErased(client, tenantId))).toBeNull();
    expect((await getTenant(db.system, tenantId))?.erasedAt).toBeInstanceOf(Date);
    expect(await listMemberships(db.system, user)).toEqual([]);
    expect(await getRun(db.system, queued)).toMatchObject({ status: "cancelled" });
    expect(await getRun(db.system, running)).toMatchObject({ status: "running", cancelRequestedAt: expect.any(Date) });
    expect(await getRun(db.system, runId)).toMatchObject({ status: "queued", cancelRequestedAt: null });
    expect(await hasLiveRuns(db.system, tenantId, runId)).toBe(true);
    expect(await getErasure(db.system, tenantId)).toEqual({ tenantId, runId, certificate, purgedAt: null });
  });

  test("its end takes the values of rows out of previews and restores, and of no other tenant's", async () => {
    const { db, sourceId } = control;
    const values = [{ table: "public.guests", keys: [["secret-key"]] }];
    const tenants = [await newTenant(db, sourceId, randomUUID()), await newTenant(db, sourceId, randomUUID())];
    const previews: string[] = [];
    for (const tenantId of tenants) {
      const backupId = await control.queuedBackup({ tenantId });
      const claimed = await claimRun(db.system, { runId: backupId, worker: "w", leaseMs: 60_000 });
      const outcome = {
        rowCount: 1,
        rawBytes: 1,
        storedBytes: 7,
        objectCount: 2,
        manifestSha256: "0",
        snapshot: { lsn: "0/0", at: new Date(), pgSnapshot: "10:10:", endLsn: "00000000016b3750" },
        serverVersion: "18",
        tables: [],
      };
      const token = claimed?.attemptToken ?? "";
      expect(await succeedBackupRun(db.system, { runId: backupId, attemptToken: token }, outcome, {})).toBe(true);
      const previewId = createdId(
        await insertRestoreRun(
          db.system,
          { kind: "restore_preview", tenantId, sourceId, maxAttempts: 1, requestedBy: "u", params: { keys: values } },
          { targetSourceId: sourceId, backupId, mode: "exact", tables: null, keys: values },
        ),
      );
      await control.database.pool.query(
        `UPDATE runs SET status = 'running', attempt = 1, attempt_token = gen_random_uuid(), lease_until = now(), worker = 'w' WHERE id = $1`,
        [previewId],
      );
      await control.database.pool.query(
        `UPDATE runs SET status = 'succeeded', attempt_token = NULL, lease_until = NULL, finished_at = now(), result = '{"samples": ["secret-value"]}' WHERE id = $1`,
        [previewId],
      );
      previews.push(previewId);
    }
    const [erased, other] = tenants;
    if (erased === undefined || other === undefined) throw new Error("two tenants were made");
    expect(await countStoredBackups(db.system, erased)).toEqual({ encrypted: 0, inClear: 1, storedBytes: 7 });
    const runId = createdId(
      await insertRun(db.system, {
        kind: "tenant_erase",
        tenantId: erased,
        sourceId,
        maxAttempts: 3,
        requestedBy: "olga",
      }),
    );
    await withSystem(db, async (client) => {
      await markTenantErased(client, erased);
      await insertErasure(client, { tenantId: erased, runId, certificate: {} });
    });
    await withSystem(db, (client) => finishErasure(client, erased));
    expect(await countStoredBackups(db.system, erased)).toEqual({ encrypted: 0, inClear: 0, storedBytes: 0 });
    expect((await getErasure(db.system, erased))?.purgedAt).toBeInstanceOf(Date);
    const kept = await Promise.all(previews.map((id) => getRun(db.system, id)));
    expect(kept[0]).toMatchObject({ status: "succeeded", result: null, params: { keys: null } });
    expect(kept[1]).toMatchObject({ result: { samples: ["secret-value"] }, params: { keys: values } });
    const whole = await control.database.pool.query(
      "SELECT coalesce(jsonb_agg(to_jsonb(r)), '[]')::text || (SELECT jsonb_agg(to_jsonb(j))::text FROM restore_jobs j WHERE tenant_id = $1) AS text FROM runs r WHERE tenant_id = $1",
      [erased],
    );
    expect(String(whole.rows[0]?.text)).not.toContain("secret");
    // The exception is that transaction's and that tenant's alone.
    await expect(
      control.database.pool.query("UPDATE runs SET result = NULL WHERE id = $1", [previews[1]]),
    ).rejects.toThrow(/can't go from succeeded to succeeded/);
  });
});
