import { createHash } from "node:crypto";
import type { ObjectStore } from "@rowback/storage";
import { z } from "zod";
import { TableName } from "../../postgres/tenancy.ts";
import { changesPrefix } from "../log/segment-keys.ts";

/** Moments that can't be restored to: from behind `beginsLsn` until a full backup that shows `causeXid` (docs/CHANGE-LOG.md, "Gaps"). */
export const Gap = z.object({
  reason: z.enum(["slot_lost", "capture_off", "table_rewritten", "tenant_moved", "table_not_published"]),
  /** Null: all tenants. */
  tenantKey: z.string().nullable(),
  /** Null: all tables. */
  table: TableName.nullable(),
  /** The last position that is certain: 16 hexadecimal digits. */
  beginsLsn: z.string().regex(/^[0-9a-f]{16}$/),
  /** Microseconds since 1970, in decimal digits. */
  beginsAt: z.string().regex(/^\d+$/),
  /** Null: only a backup that is usable in a later epoch ends it. */
  causeXid: z.string().regex(/^\d+$/).nullable(),
});
export type Gap = z.infer<typeof Gap>;

/** Made of what the gap is, so that a capture that repeats a transaction after a crash writes the same object again. */
export function gapKey(sourceId: string, epoch: number, gap: Gap): string {
  const what = JSON.stringify([gap.reason, gap.tenantKey, gap.table?.schema ?? null, gap.table?.name ?? null]);
  const digest = createHash("sha256").update(what).digest("hex").slice(0, 12);
  return `${changesPrefix(sourceId, epoch)}${gap.beginsLsn}-gap-${digest}`;
}

/** Stores the gap's object, so that the objects alone tell of it. Durable when it resolves. Returns its key. */
export async function putGap(
  store: ObjectStore,
  sourceId: string,
  epoch: number,
  gap: Gap,
  signal: AbortSignal,
): Promise<string> {
  const key = gapKey(sourceId, epoch, gap);
  const body = { format: "rowback-gap", version: 1, sourceId, epoch, ...gap };
  await store.put(key, Buffer.from(`${JSON.stringify(body)}\n`), { signal });
  return key;
}
