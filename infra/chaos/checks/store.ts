import { createHash } from "node:crypto";
import { buffer } from "node:stream/consumers";
import type { ObjectStore } from "@rowback/storage";
import { z } from "zod";
import { rowsOf } from "../sql.ts";

const BackupRow = z.object({
  id: z.string(),
  tenantId: z.string(),
  status: z.string(),
  sha256: z.string().nullable(),
  objects: z.coerce.number().nullable(),
  purged: z.boolean(),
  purging: z.boolean(),
});
type BackupRow = z.infer<typeof BackupRow>;

export interface StoreCheck {
  /** Manifests without a succeeded backup, and succeeded backups without their manifest. */
  readonly falseManifests: string[];
  /** Objects that belong to no succeeded backup, or are more or fewer than its manifest names. */
  readonly orphans: string[];
}

const MANIFEST = "manifest.json";

/** Compares what lies in the store with what the control database says of it. */
export async function checkStore(store: ObjectStore, controlUrl: string): Promise<StoreCheck> {
  const check: StoreCheck = { falseManifests: [], orphans: [] };
  const rows = await rowsOf(
    controlUrl,
    BackupRow,
    `SELECT b.run_id AS id, b.tenant_id AS "tenantId", r.status, b.manifest_sha256 AS sha256, b.object_count AS objects,
       b.purged_at IS NOT NULL AS purged, b.purge_started_at IS NOT NULL AS purging
     FROM backup_jobs b JOIN runs r ON r.id = b.run_id`,
  );
  const stored = await objectsByBackup(store, check);
  for (const row of rows) {
    const objects = stored.get(row.id) ?? new Set();
    stored.delete(row.id);
    if (row.status === "succeeded" && !row.purging) await checkKept(store, row, objects, check);
    else checkGone(row, objects, check);
  }
  for (const [id, objects] of stored) {
    if (objects.has(MANIFEST)) check.falseManifests.push(`${id} has a manifest and no row`);
    for (const name of objects) check.orphans.push(`${id}/${name} of no backup`);
  }
  return check;
}

/** `<name>` of every object by its backup. */
async function objectsByBackup(store: ObjectStore, check: StoreCheck): Promise<Map<string, Set<string>>> {
  const stored = new Map<string, Set<string>>();
  for await (const { key } of store.list("")) {
    const [, backupId, name] = /^tenants\/[^/]+\/backups\/([^/]+)\/(.+)$/.exec(key) ?? [];
    if (backupId === undefined || name === undefined) {
      check.orphans.push(`${key} is no backup's`);
      continue;
    }
    stored.set(backupId, (stored.get(backupId) ?? new Set()).add(name));
  }
  return stored;
}

async function checkKept(store: ObjectStore, row: BackupRow, objects: Set<string>, check: StoreCheck): Promise<void> {
  if (!objects.has(MANIFEST)) {
    check.falseManifests.push(`${row.id} succeeded and has no manifest`);
    return;
  }
  const text = await buffer(await store.get(`tenants/${row.tenantId}/backups/${row.id}/${MANIFEST}`));
  const sha256 = createHash("sha256").update(text).digest("hex");
  if (sha256 !== row.sha256) check.falseManifests.push(`${row.id} has another manifest than its row says`);
  if (row.objects !== null && objects.size > row.objects)
    check.orphans.push(
      `${row.id} has ${objects.size} objects, ${row.objects} of them its own: ${[...objects].join(" ")}`,
    );
}

function checkGone(row: BackupRow, objects: Set<string>, check: StoreCheck): void {
  if (objects.has(MANIFEST)) check.falseManifests.push(`${row.id} has a manifest, but is ${stateOf(row)}`);
  for (const name of objects) check.orphans.push(`${row.id}/${name}, but the backup is ${stateOf(row)}`);
}

function stateOf(row: BackupRow): string {
  return row.purged ? "purged" : row.status;
}
