import type { ObjectStore } from "@rowback/storage";
import { changesPrefix, parseSegmentKey } from "../log/segment-keys.ts";
import type { Covered } from "./capture-target.ts";

/** Deletes pieces and segments that were stored but never recorded: what they hold comes again. @throws StorageError, the signal's reason */
export async function removeUnrecorded(
  store: ObjectStore,
  { sourceId, epoch, covered }: { readonly sourceId: string; readonly epoch: number; readonly covered: Covered },
  signal: AbortSignal,
): Promise<void> {
  const prefix = changesPrefix(sourceId, epoch);
  const keys: string[] = [];
  for await (const { key } of store.list(prefix, { signal, startAfter: `${prefix}${covered.lsn}` })) {
    const name = parseSegmentKey(key);
    if (name !== null && name.first >= covered.lsn) keys.push(key);
  }
  if (keys.length > 0) await store.delete(keys, { signal });
}
