import { createHash, randomUUID } from "node:crypto";
import { migrate } from "@rowback/db";
import { type TestDatabase, testDatabase, testFolder, testS3 } from "@rowback/local-services/testing";
import { type ObjectStore, openStore } from "@rowback/storage";
import pg from "pg";
import { expect, onTestFinished, test } from "vitest";
import { CONTROL_JOURNAL } from "../journals.ts";
import { checkEffects, endsNotOnce, missingRuns } from "./runs.ts";
import { leftovers } from "./source.ts";
import { checkStore } from "./store.ts";
import { unfinishedUploads } from "./unfinished.ts";

// What the product must never do is done here by hand: a check that can't see it would prove nothing.

interface Control {
  readonly db: TestDatabase;
  readonly tenantId: string;
  /** A run that has ended so, and its backup or restore. */
  ended(kind: "backup" | "restore", status: string, details?: { sha256?: string; changed?: number }): Promise<string>;
}

async function control(): Promise<Control> {
  const db = await testDatabase("chaos-checks");
  await migrate(db.url);
  await db.pool.query(CONTROL_JOURNAL);
  const [sourceId, tenantId] = [randomUUID(), randomUUID()];
  await db.pool.query("INSERT INTO sources (id, name, connection_ref, tenancy) VALUES ($1, 'shop', 'env:SHOP', '{}')", [
    sourceId,
  ]);
  await db.pool.query("INSERT INTO tenants (id, source_id, key, name) VALUES ($1, $2, 't1', 't1')", [
    tenantId,
    sourceId,
  ]);
  const ids = [tenantId, sourceId];
  const backup = async (runId: string, sha256: string | null): Promise<void> => {
    await db.pool.query(
      `INSERT INTO backup_jobs (run_id, tenant_id, source_id, type, purpose, manifest_sha256, object_count)
       VALUES ($1, $2, $3, 'full', 'manual', $4, 2)`,
      [runId, ...ids, sha256],
    );
  };
  const end = async (kind: string, status: string, changed: number): Promise<string> => {
    const runId = randomUUID();
    await db.pool.query(
      "INSERT INTO runs (id, kind, tenant_id, source_id, max_attempts, requested_by) VALUES ($1, $4, $2, $3, 3, 'test')",
      [runId, ...ids, kind],
    );
    await db.pool.query(
      `UPDATE runs SET status = 'running', attempt = 1, attempt_token = gen_random_uuid(), lease_until = now(), worker = 'w' WHERE id = $1`,
      [runId],
    );
    const result = { tables: [{ table: "public.documents", inserted: changed, updated: 0, deleted: 0 }] };
    await db.pool.query(
      `UPDATE runs SET status = $2, attempt_token = NULL, lease_until = NULL, finished_at = now(), error = '{}', result = $3 WHERE id = $1`,
      [runId, status, result],
    );
    return runId;
  };
  return {
    db,
    tenantId,
    ended: async (kind, status, { sha256, changed = 0 } = {}) => {
      const runId = await end(kind, status, changed);
      if (kind === "backup") await backup(runId, sha256 ?? null);
      else {
        const of = await end("backup", "succeeded", 0);
        await backup(of, null);
        await db.pool.query(
          `INSERT INTO restore_jobs (run_id, tenant_id, source_id, target_source_id, backup_id, mode) VALUES ($1, $2, $3, $3, $4, 'exact')`,
          [runId, ...ids, of],
        );
      }
      return runId;
    },
  };
}

function folderStore(): ObjectStore {
  const store = openStore({ driver: "filesystem", root: testFolder() });
  onTestFinished(() => store.close());
  return store;
}

test("manifests that lie and objects of nobody are seen, and a whole backup is not", async () => {
  const { db, tenantId, ended } = await control();
  const store = folderStore();
  const manifest = Buffer.from("{}");
  const sha256 = createHash("sha256").update(manifest).digest("hex");
  const put = async (backupId: string, ...names: string[]): Promise<void> => {
    for (const name of names) await store.put(`tenants/${tenantId}/backups/${backupId}/${name}`, manifest);
  };
  await put(await ended("backup", "succeeded", { sha256 }), "part-0", "manifest.json");
  expect(await checkStore(store, db.url)).toEqual({ falseManifests: [], orphans: [] });

  const [other, without, more] = [
    await ended("backup", "succeeded", { sha256: "0".repeat(64) }),
    await ended("backup", "succeeded", { sha256 }),
    await ended("backup", "succeeded", { sha256 }),
  ];
  await put(other, "part-0", "manifest.json");
  await put(more, "part-0", "part-1", "manifest.json");
  const failed = await ended("backup", "failed");
  await put(failed, "manifest.json");
  const nobody = randomUUID();
  await put(nobody, "part-0");
  const { falseManifests, orphans } = await checkStore(store, db.url);
  expect(falseManifests.toSorted()).toEqual(
    [
      `${other} has another manifest than its row says`,
      `${without} succeeded and has no manifest`,
      `${failed} has a manifest, but is failed`,
    ].toSorted(),
  );
  expect(orphans).toEqual(
    expect.arrayContaining([
      expect.stringContaining(`${more} has 3 objects`),
      `${failed}/manifest.json, but the backup is failed`,
      `${nobody}/part-0 of no backup`,
    ]),
  );
});

test("a run that ended twice, one that is gone, and effects that do not match are seen", async () => {
  const { db, ended } = await control();
  await ended("restore", "succeeded", { changed: 3 });
  expect(await endsNotOnce(db.url)).toEqual([]);
  expect(await checkEffects(db.url, new Map([["t1", 1]]))).toEqual({ tooMany: [], missing: [] });

  const failed = await ended("restore", "failed", { changed: 3 });
  expect((await checkEffects(db.url, new Map([["t1", 2]]))).tooMany).toHaveLength(1);
  expect((await checkEffects(db.url, new Map())).missing).toHaveLength(1);
  await db.pool.query("ALTER TABLE runs DISABLE TRIGGER runs_allow_only_known_transitions");
  await db.pool.query("UPDATE runs SET finished_at = now() + interval '1 second' WHERE id = $1", [failed]);
  expect(await endsNotOnce(db.url)).toEqual([`restore ${failed}, failed, ended 2 times`]);
  expect(await missingRuns(db.url, [{ runId: randomUUID(), path: "/v1/backups" }])).toHaveLength(1);
});

test("what a run left in the source is seen: an open transaction, a lock, a temporary table", async () => {
  const db = await testDatabase("chaos-source");
  const ofThisDatabase = async (): Promise<string[]> => {
    const found = await leftovers(db.url);
    return found.filter((one) => one.includes("chaos_leftover") || one.includes("rowback worker chaos test"));
  };
  expect(await ofThisDatabase()).toEqual([]);
  const client = new pg.Client({ connectionString: db.url, application_name: "rowback worker chaos test" });
  await client.connect();
  try {
    await client.query("CREATE TEMP TABLE chaos_leftover ()");
    await client.query("BEGIN; SELECT pg_advisory_xact_lock(1)");
    const found = await ofThisDatabase();
    expect(found).toEqual(
      expect.arrayContaining([
        expect.stringContaining("idle in transaction"),
        expect.stringContaining("chaos_leftover"),
      ]),
    );
    expect(await leftovers(db.url)).toEqual(expect.arrayContaining([expect.stringContaining("advisory lock")]));
  } finally {
    await client.end();
  }
});

test("what was begun to be stored and never ended is seen, in a folder and in a bucket", async () => {
  const folder = { driver: "filesystem", root: testFolder() } as const;
  const s3 = testS3();
  const bucket = s3 === null ? [] : [{ driver: "s3", ...s3, prefix: undefined } as const];
  for (const config of [folder, ...bucket]) {
    const store = openStore(config);
    onTestFinished(() => store.close());
    const goOn = Promise.withResolvers<void>();
    const key = `chaos-${randomUUID()}`;
    async function* body(): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(20_000_000);
      await goOn.promise;
    }
    await store.put("whole", Buffer.from("whole"));
    const before = await unfinishedUploads(config);
    const put = store.put(key, body());
    await expect.poll(async () => (await unfinishedUploads(config)).length).toBe(before.length + 1);
    goOn.resolve();
    await put;
    expect(await unfinishedUploads(config)).toEqual(before);
    await store.delete([key, "whole"]);
  }
});
