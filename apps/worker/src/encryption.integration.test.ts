import { execFile } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import { getBackup, getTenantKey, insertRun, listAuditEntries, updateSource } from "@rowback/db";
import { JOBS, RestoreResult } from "@rowback/jobs";
import { parseMasterKeys } from "@rowback/recovery";
import { expect, test } from "vitest";
import { openKeyRing } from "./key-ring.ts";
import type { MasterKeySource } from "./read-master-keys.ts";
import { rotateKeys } from "./rotate-keys.ts";
import { MISTAKE, type Shop, shop } from "./testing/shop.ts";

const OLD = randomBytes(32).toString("base64");
const NEW = randomBytes(32).toString("base64");
const OLGA = { host: "ops-1", systemUser: "olga" };

function masterKeys(text: string): { masterKeys: MasterKeySource } {
  return { masterKeys: { kind: "value", text } };
}

async function encryptedShop(name: string): Promise<Shop> {
  const at = await shop(name);
  await updateSource(at.db.system, at.sourceId, { encryption: true });
  return at;
}

async function verify(at: Shop, backupId: string, status: "succeeded" | "failed") {
  const { tenantId, sourceId } = at;
  const asked = { kind: "backup_verify", tenantId, sourceId, maxAttempts: JOBS.backup_verify.attempts } as const;
  const result = await insertRun(at.db.system, { ...asked, requestedBy: "user-1", params: { backupId } });
  if (result.outcome !== "created") throw new Error(result.outcome);
  await at.enqueue(result.run);
  return await at.until(result.run.id, status);
}

/** Every object, and whatever in it can be decompressed. */
async function readable(at: Shop): Promise<string> {
  const { store } = at.config;
  if (store.driver !== "filesystem") throw new Error("a folder was expected");
  const files = (await readdir(store.root, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const texts = await Promise.all(
    files.map(async ({ parentPath, name }) => {
      const bytes = await readFile(join(parentPath, name));
      const zipped: string[] = [];
      for (
        let found = bytes.indexOf("1f8b08", 0, "hex");
        found !== -1;
        found = bytes.indexOf("1f8b08", found + 1, "hex")
      ) {
        try {
          zipped.push(gunzipSync(bytes.subarray(found)).toString("latin1"));
        } catch {
          // It only looked like a member's beginning.
        }
      }
      return [bytes.toString("latin1"), ...zipped];
    }),
  );
  return texts.flat().join("\n");
}

test("backup, mistake, preview, restore, undo, verify: all of it encrypted, and nothing readable in the store", async () => {
  const at = await encryptedShop("enc-story");
  await at.start({}, masterKeys(OLD));
  const before = await at.rows("acme");
  const backup = await at.backup();
  const row = await getBackup(at.db.system, backup.id);
  expect(row?.keyId).toBe((await getTenantKey(at.db.system, { tenantId: at.tenantId }))?.id);
  await at.source.pool.query(MISTAKE);
  const mistaken = await at.rows("acme");
  const restore = await at.until((await at.apply(await at.preview(backup.id))).id, "succeeded");
  expect(await at.rows("acme")).toBe(before);
  const { preRestoreBackupId } = RestoreResult.parse(restore.result);
  expect((await getBackup(at.db.system, preRestoreBackupId ?? ""))?.keyId).toBe(row?.keyId);
  await at.until((await at.undo(restore.id)).id, "succeeded");
  expect(await at.rows("acme")).toBe(mistaken);
  expect((await verify(at, backup.id, "succeeded")).result).toMatchObject({ rowCount: 601 });

  const shown = await readable(at);
  expect(shown.length).toBeGreaterThan(1_000);
  for (const secret of ["customer", "Acme", "acme", "orders", "CREATE TABLE", "tenant_id"]) {
    expect(shown.includes(secret), secret).toBe(false);
  }
});

test("the same search finds what a backup in clear shows; backups of both kinds stand side by side", async () => {
  const at = await shop("enc-mixed");
  await at.start({}, masterKeys(OLD));
  const before = await at.rows("acme");
  const clear = await at.backup();
  expect(await readable(at)).toContain("customer 2");
  await updateSource(at.db.system, at.sourceId, { encryption: true });
  await at.source.pool.query(MISTAKE);
  const mistaken = await at.rows("acme");
  const sealed = await at.backup();
  await updateSource(at.db.system, at.sourceId, { encryption: false });
  const third = await at.backup();
  const keyIds = await Promise.all(
    [clear, sealed, third].map(async ({ id }) => (await getBackup(at.db.system, id))?.keyId),
  );
  expect(keyIds).toEqual([null, expect.any(String), null]);
  await at.until((await at.apply(await at.preview(clear.id))).id, "succeeded");
  expect(await at.rows("acme")).toBe(before);
  await at.until((await at.apply(await at.preview(sealed.id))).id, "succeeded");
  expect(await at.rows("acme")).toBe(mistaken);
  for (const { id } of [clear, sealed, third]) await verify(at, id, "succeeded");
});

test("a rotation in the middle: old backups and new ones, with both master keys and then with the new one alone", async () => {
  const at = await encryptedShop("enc-rotate");
  const first = await at.start({}, masterKeys(OLD));
  const old = await at.backup();
  await first.close();
  const second = await at.start({}, masterKeys(`${NEW} ${OLD}`));
  const untouched = await readable(at);
  const unfinished = verify(at, old.id, "succeeded");
  const outcome = await rotateKeys(at.db.system, parseMasterKeys(`${NEW} ${OLD}`), OLGA);
  expect(outcome).toEqual({ masterKeyId: parseMasterKeys(NEW).current.id, rewrapped: 1, failed: [] });
  expect((await rotateKeys(at.db.system, parseMasterKeys(`${NEW} ${OLD}`), OLGA)).rewrapped).toBe(0);
  const actions = async (of: string | null) => (await listAuditEntries(at.db.system, of)).items.map((e) => e.action);
  expect((await actions(at.tenantId)).filter((action) => action.startsWith("data-key."))).toEqual([
    "data-key.rewrap",
    "data-key.create",
  ]);
  expect((await actions(null)).filter((action) => action === "keys.rotate")).toHaveLength(2);
  await unfinished;
  expect(await readable(at)).toBe(untouched);
  await second.close();
  await at.start({}, masterKeys(NEW));
  await verify(at, old.id, "succeeded");
  const fresh = await at.backup();
  const keyIds = await Promise.all([old, fresh].map(async ({ id }) => (await getBackup(at.db.system, id))?.keyId));
  expect(new Set(keyIds).size).toBe(1);
});

test("npm run keys:rotate rewraps, and the audit log says on which machine and by whom", async () => {
  const at = await shop("enc-rotate-command");
  const { id } = await openKeyRing(at.db.system, parseMasterKeys(OLD), "worker-1").current({ tenantId: at.tenantId });
  const main = fileURLToPath(new URL("keys-main.ts", import.meta.url));
  const env = { DATABASE_URL: at.config.databaseUrl, ROWBACK_MASTER_KEY: `${NEW} ${OLD}` };
  const { stdout } = await promisify(execFile)(process.execPath, [main, "rotate"], { env });
  const masterKeyId = parseMasterKeys(NEW).current.id;
  expect(JSON.parse(stdout)).toEqual({ masterKeyId, rewrapped: 1, failed: [] });
  expect(await getTenantKey(at.db.system, { tenantId: at.tenantId })).toMatchObject({ id, masterKeyId });
  const by = { host: hostname(), systemUser: expect.stringMatching(/./) };
  const [rewrapped] = (await listAuditEntries(at.db.system, at.tenantId)).items;
  expect(rewrapped).toMatchObject({ action: "data-key.rewrap", after: { keyId: id, masterKeyId, ...by } });
  const [rotation] = (await listAuditEntries(at.db.system, null)).items;
  expect(rotation).toMatchObject({ action: "keys.rotate", after: { masterKeyId, rewrapped: 1, failed: 0, ...by } });
});

test("a rotation without the older key says so and changes nothing", async () => {
  const at = await encryptedShop("enc-rotate-wrong");
  await openKeyRing(at.db.system, parseMasterKeys(OLD), "worker-1").current({ tenantId: at.tenantId });
  const before = await getTenantKey(at.db.system, { tenantId: at.tenantId });
  const outcome = await rotateKeys(at.db.system, parseMasterKeys(NEW), OLGA);
  expect(outcome).toMatchObject({
    rewrapped: 0,
    failed: [{ id: before?.id, masterKeyId: parseMasterKeys(OLD).current.id }],
  });
  expect(await getTenantKey(at.db.system, { tenantId: at.tenantId })).toEqual(before);
});

test("without a master key, and with a wrong one, runs fail at once and say which key is asked for", async () => {
  const at = await encryptedShop("enc-keys");
  const right = await at.start({}, masterKeys(OLD));
  const backup = await at.backup();
  await right.close();

  const without = await at.start();
  const refused = await at.until((await at.ask({ kind: "backup" })).id, "failed");
  expect(refused).toMatchObject({ attempt: 1, error: { code: "key_missing", retryable: false } });
  expect(await verify(at, backup.id, "failed")).toMatchObject({ attempt: 1, error: { code: "key_missing" } });
  await without.close();

  await at.start({}, masterKeys(NEW));
  const wrong = await verify(at, backup.id, "failed");
  expect(wrong).toMatchObject({ attempt: 1, error: { code: "key_wrong", retryable: false } });
  expect(wrong.error?.message).toContain(parseMasterKeys(OLD).current.id);
  expect(JSON.stringify(wrong)).not.toContain(NEW);
  const asked = await at.until((await at.ask({ kind: "backup" })).id, "failed");
  expect(asked).toMatchObject({ attempt: 1, error: { code: "key_wrong" } });
});

test("two workers that need a tenant's first key at the same time get the same one", async () => {
  const at = await shop("enc-first");
  const rings = [OLD, OLD, OLD, OLD].map((text) => openKeyRing(at.db.system, parseMasterKeys(text), "worker-1"));
  const keys = await Promise.all(rings.map((ring) => ring.current({ tenantId: at.tenantId })));
  expect(new Set(keys.map(({ id }) => id)).size).toBe(1);
  expect(new Set(keys.map(({ secret }) => secret.export().toString("hex"))).size).toBe(1);
  const [ring] = rings;
  await expect(ring?.get({ tenantId: at.tenantId }, randomUUID())).rejects.toMatchObject({ code: "key_missing" });
  await expect(ring?.get({ sourceId: at.sourceId }, randomUUID())).rejects.toMatchObject({ code: "key_missing" });
});

test("a worker whose master keys can't be read does not start", async () => {
  const at = await shop("enc-start");
  await expect(at.start({}, masterKeys("c2hvcnQ="))).rejects.toThrow(/ROWBACK_MASTER_KEY.*32 bytes/);
});
