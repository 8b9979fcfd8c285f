import type { ObjectInfo, ObjectStore } from "@rowback/storage";
import { type BackupId, parseObjectKey, TENANTS_PREFIX } from "../archive/object-keys.ts";
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
}

export interface SweepOutcome {
  /** Backups that never came to be. */
  readonly backups: number;
  readonly objects: number;
  readonly bytes: number;
}

interface Candidate {
  readonly id: BackupId;
  hasManifest: boolean;
  objects: number;
  bytes: number;
  youngest: number;
}

/**
 * Deletes what crashed backups and interrupted deletions left: objects with no manifest beside them. Memory is flat; objects that are no
 * backup's are not touched.
 *
 * @throws RecoveryError `store_*`, `cancelled`
 */
export async function collectGarbage(
  ctx: Pick<VerbContext, "store" | "clock" | "log" | "signal">,
  options: SweepOptions,
): Promise<SweepOutcome> {
  const total = { backups: 0, objects: 0, bytes: 0 };
  try {
    for await (const candidate of listBackups(ctx.store, ctx.signal)) {
      if (!(await isGarbage(candidate, ctx.clock.now(), options))) continue;
      await deleteBackup(ctx.store, candidate.id, { signal: ctx.signal });
      ctx.log.info({ ...candidate.id, objects: candidate.objects, bytes: candidate.bytes }, "collected leftovers");
      total.backups += 1;
      total.objects += candidate.objects;
      total.bytes += candidate.bytes;
    }
  } catch (error) {
    throw toRecoveryError(error, { signal: ctx.signal });
  }
  return total;
}

async function isGarbage(candidate: Candidate, now: Date, options: SweepOptions): Promise<boolean> {
  if (now.getTime() - candidate.youngest < options.graceMs) return false;
  if (candidate.hasManifest && !((await options.hasFailed?.(candidate.id)) ?? false)) return false;
  return !(await options.isLive(candidate.id));
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
      current = { id: { tenantId, backupId }, hasManifest: false, objects: 0, bytes: 0, youngest: 0 };
    }
    add(current, object, key.isManifest);
  }
  if (current !== null) yield current;
}

function add(candidate: Candidate, object: ObjectInfo, isManifest: boolean): void {
  candidate.hasManifest ||= isManifest;
  candidate.objects += 1;
  candidate.bytes += object.bytes;
  candidate.youngest = Math.max(candidate.youngest, object.modifiedAt.getTime());
}
