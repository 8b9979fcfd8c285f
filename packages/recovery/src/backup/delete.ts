import type { ObjectStore } from "@rowback/storage";
import { type BackupId, backupPrefix, manifestKey } from "../archive/object-keys.ts";
import { toRecoveryError } from "../postgres/source-error.ts";

/** Objects deleted with one call. */
const BATCH = 500;

/**
 * Deletes a backup: the manifest first, so that a crash in between leaves garbage and never a backup that misses parts.
 * Deleting what is gone already is fine. Whether anything depends on it is the caller's to know.
 *
 * @throws RecoveryError `store_*`, `cancelled`
 */
export async function deleteBackup(
  store: ObjectStore,
  id: BackupId,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  try {
    await store.delete([manifestKey(id)], options);
    let batch: string[] = [];
    for await (const { key } of store.list(backupPrefix(id), options)) {
      batch.push(key);
      if (batch.length === BATCH) {
        await store.delete(batch, options);
        batch = [];
      }
    }
    await store.delete(batch, options);
  } catch (error) {
    throw toRecoveryError(error, { tenantId: id.tenantId, runId: id.backupId, signal: options.signal });
  }
}
