import { manifestKey, parseObjectKey, tenantPrefix } from "../archive/object-keys.ts";
import { toRecoveryError } from "../postgres/source-error.ts";
import type { VerbContext } from "../verb-context.ts";

/** Objects deleted with one call. */
const BATCH = 500;

export interface PurgeOutcome {
  readonly objects: number;
  readonly bytes: number;
}

/**
 * Deletes every object under a tenant's prefix, each backup's manifest before its parts. When it resolves, the listing was empty. Nobody may write for
 * the tenant meanwhile. Memory is flat; after a crash it goes on where it was.
 *
 * @throws RecoveryError `store_*`, `cancelled`
 */
export async function purgeTenant(
  { store, signal }: Pick<VerbContext, "store" | "signal">,
  tenantId: string,
): Promise<PurgeOutcome> {
  const total = { objects: 0, bytes: 0 };
  try {
    for (let found = true; found; ) {
      found = false;
      let batch: string[] = [];
      for await (const { key, bytes } of store.list(tenantPrefix(tenantId), { signal })) {
        found = true;
        batch.push(key);
        total.objects += 1;
        total.bytes += bytes;
        if (batch.length === BATCH) {
          await deleteManifestsFirst({ store, signal }, batch);
          batch = [];
        }
      }
      await deleteManifestsFirst({ store, signal }, batch);
    }
    return total;
  } catch (error) {
    throw toRecoveryError(error, { tenantId, signal });
  }
}

/** `manifest.json` sorts before all parts, so a backup's manifest is in the same batch as its first part, or in an earlier one. */
async function deleteManifestsFirst(
  { store, signal }: Pick<VerbContext, "store" | "signal">,
  keys: readonly string[],
): Promise<void> {
  const manifests = keys.filter((key) => {
    const id = parseObjectKey(key);
    return id !== null && key === manifestKey(id);
  });
  if (manifests.length > 0) await store.delete(manifests, { signal });
  if (keys.length > manifests.length) await store.delete(keys, { signal });
}
