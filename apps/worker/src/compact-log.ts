import {
  type CaptureLease,
  type ChangeSegment,
  forgetRetired,
  listRetired,
  listSegments,
  type Queryable,
  replaceSegments,
} from "@rowback/db";
import { mergeSegments, planMerge } from "@rowback/recovery";
import type { ObjectStore } from "@rowback/storage";
import { segmentRow } from "./capture-ledger.ts";

/** A restore that began to read the old objects has ended by then, or reads the list again. */
const RETIRED_FOR_MS = 3_600_000;
const BATCH = 1_000;

/**
 * Merges small segments of an epoch until there is nothing worth it, then deletes the objects that were replaced an hour ago.
 * A crash leaves a wider object beside those it holds, and the next merge of the same ones writes it again.
 */
export async function compactLog(
  control: Queryable,
  store: ObjectStore,
  lease: CaptureLease,
  epoch: number,
  signal: AbortSignal,
): Promise<void> {
  const { sourceId } = lease;
  for (;;) {
    const segments: ChangeSegment[] = [];
    for await (const segment of listSegments(control, { sourceId, epoch, tenantKey: null })) segments.push(segment);
    const group = planMerge(segments);
    if (group === null || signal.aborted) break;
    const merged = await mergeSegments(store, { sourceId, epoch, segments: group, signal });
    const replaced = group.map((segment) => segment.objectKey);
    if (!(await replaceSegments(control, lease, epoch, replaced, segmentRow(merged)))) return;
  }
  await deleteRetired(control, store, sourceId, signal);
}

async function deleteRetired(
  control: Queryable,
  store: ObjectStore,
  sourceId: string,
  signal: AbortSignal,
): Promise<void> {
  for (let more = true; more && !signal.aborted; ) {
    const keys = await listRetired(control, { sourceId, forMs: RETIRED_FOR_MS, limit: BATCH });
    if (keys.length > 0) await store.delete(keys, { signal });
    await forgetRetired(control, keys);
    more = keys.length === BATCH;
  }
}
