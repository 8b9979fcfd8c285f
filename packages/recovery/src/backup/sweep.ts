import { createHash } from "node:crypto";
import type { ObjectInfo, ObjectStore } from "@rowback/storage";
import { readManifest } from "../archive/backup-reader.ts";
import { manifestWriter } from "../archive/manifest-text.ts";
import {
  type BackupId,
  type BackupObject,
  backupPrefix,
  manifestKey,
  parseObjectKey,
  TENANTS_PREFIX,
} from "../archive/object-keys.ts";
import { toRecoveryError } from "../postgres/source-error.ts";
import type { VerbContext } from "../verb-context.ts";
import { deleteBackup } from "./delete.ts";

export interface SweepOptions {
  /**
   * Objects younger than this, in milliseconds, are left alone: their run may be one that the caller does not know of yet. An hour is
   * generous; too short would delete parts from under a running backup, too long only wastes space.
   */
  readonly graceMs: number;
  /** Whether a run that may still write this backup is queued or running. */
  readonly isLive: (id: BackupId) => Promise<boolean>;
  /**
   * Whether the backup's run is known to have ended without success. Its manifest may stand all the same, when the store's answer to
   * the last request was lost. Never guess: a run that is not known has not failed. Left out: backups with a manifest stay.
   */
  readonly hasFailed?: ((id: BackupId) => Promise<boolean>) | undefined;
  /**
   * SHA-256 of the manifest that the backup's succeeded run has written; null where that is not known. What earlier attempts left beside it
   * is then collected. Left out: nothing beside a manifest is.
   */
  readonly manifestOf?: ((id: BackupId) => Promise<string | null>) | undefined;
}

export interface SweepOutcome {
  /** Backups that never came to be. */
  readonly backups: number;
  /** Also of attempts that lost, beside a backup that is whole. */
  readonly objects: number;
  readonly bytes: number;
}

type SweepContext = Pick<VerbContext, "store" | "clock" | "log" | "signal">;

/** Objects deleted with one call. */
const BATCH = 500;

interface Candidate {
  readonly id: BackupId;
  /** The attempts that parts are of. */
  readonly writers: Set<string | undefined>;
  hasManifest: boolean;
  objects: number;
  bytes: number;
  youngest: number;
}

/**
 * Deletes what crashed backups and interrupted deletions left: objects with no manifest beside them, and parts of attempts other than the
 * one whose manifest it is. Memory is flat; objects that are no backup's are not touched.
 *
 * @throws RecoveryError `store_*`, `cancelled`
 */
export async function collectGarbage(ctx: SweepContext, options: SweepOptions): Promise<SweepOutcome> {
  const total = { backups: 0, objects: 0, bytes: 0 };
  try {
    for await (const candidate of listBackups(ctx.store, ctx.signal)) {
      if (ctx.clock.now().getTime() - candidate.youngest < options.graceMs) continue;
      const isWhole = await isBackup(candidate, options);
      if ((isWhole && candidate.writers.size < 2) || (await options.isLive(candidate.id))) continue;
      // Its run may have ended well since the listing, and only now that it is not live the manifest's absence means something.
      if (!candidate.hasManifest && (await hasManifest(ctx, candidate.id))) continue;
      const { objects, bytes } = isWhole
        ? await collectLosers(ctx, candidate.id, options)
        : await collectAll(ctx, candidate);
      if (objects > 0) ctx.log.info({ ...candidate.id, objects, bytes }, "collected leftovers");
      total.backups += isWhole ? 0 : 1;
      total.objects += objects;
      total.bytes += bytes;
    }
  } catch (error) {
    throw toRecoveryError(error, { signal: ctx.signal });
  }
  return total;
}

async function isBackup({ hasManifest, id }: Candidate, { hasFailed }: SweepOptions): Promise<boolean> {
  return hasManifest && !((await hasFailed?.(id)) ?? false);
}

async function hasManifest({ store, signal }: SweepContext, id: BackupId): Promise<boolean> {
  return (await store.head(manifestKey(id), { signal })) !== null;
}

type Collected = Pick<SweepOutcome, "objects" | "bytes">;

async function collectAll({ store, signal }: SweepContext, { id, objects, bytes }: Candidate): Promise<Collected> {
  await deleteBackup(store, id, { signal });
  return { objects, bytes };
}

/** A manifest that is not the one on record may name just the parts that lost: then all stays for somebody to look at. */
async function collectLosers(ctx: SweepContext, id: BackupId, { manifestOf }: SweepOptions): Promise<Collected> {
  const { store, signal } = ctx;
  const collected = { objects: 0, bytes: 0 };
  const recorded = (await manifestOf?.(id)) ?? null;
  if (recorded === null) return collected;
  const manifest = await readManifest(store, { ...id, signal });
  if (createHash("sha256").update(manifest).digest("hex") !== recorded) {
    ctx.log.error(id, "the backup's manifest is not the one that its run wrote; nothing of it was collected");
    return collected;
  }
  const winner = manifestWriter(manifest);
  let batch: string[] = [];
  for await (const { key, bytes } of store.list(backupPrefix(id), { signal })) {
    const object = parseObjectKey(key);
    if (object === null || object.isManifest || object.writer === winner) continue;
    batch.push(key);
    collected.objects += 1;
    collected.bytes += bytes;
    if (batch.length === BATCH) {
      await store.delete(batch, { signal });
      batch = [];
    }
  }
  await store.delete(batch, { signal });
  return collected;
}

/** A listing is in key order, so the objects of one backup come together. */
async function* listBackups(store: ObjectStore, signal: AbortSignal): AsyncGenerator<Candidate> {
  let current: Candidate | null = null;
  for await (const object of store.list(TENANTS_PREFIX, { signal })) {
    const key = parseObjectKey(object.key);
    if (key === null) continue;
    const { tenantId, backupId } = key;
    if (current === null || current.id.tenantId !== tenantId || current.id.backupId !== backupId) {
      if (current !== null) yield current;
      current = { ...EMPTY, id: { tenantId, backupId }, writers: new Set() };
    }
    add(current, object, key);
  }
  if (current !== null) yield current;
}

const EMPTY = { hasManifest: false, objects: 0, bytes: 0, youngest: 0 };

function add(candidate: Candidate, object: ObjectInfo, { isManifest, writer }: BackupObject): void {
  candidate.hasManifest ||= isManifest;
  if (!isManifest) candidate.writers.add(writer);
  candidate.objects += 1;
  candidate.bytes += object.bytes;
  candidate.youngest = Math.max(candidate.youngest, object.modifiedAt.getTime());
}
