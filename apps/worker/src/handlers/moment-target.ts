import { type Backup, listSegments, type Queryable, type Tenant } from "@rowback/db";
import type { RunMoment } from "@rowback/jobs";
import {
  type BackupArchive,
  type ChainContext,
  type MomentRequest,
  type OpenTarget,
  openIncremental,
  openMoment,
  type SegmentPlace,
} from "@rowback/recovery";
import { namedTables } from "@rowback/recovery/plans";
import { chainOf } from "./chain-links.ts";

/** What a restore's run brings back, where that is more than one backup: the moment behind it, or the chain below it. */
export function targetOf(
  control: Queryable,
  tenant: Tenant,
  base: Backup,
  moment: RunMoment | null,
): OpenTarget | undefined {
  if (moment === null) return base.type === "incremental" ? chainTarget(control, tenant, base) : undefined;
  const { limit, epoch } = moment;
  return (ctx, request) => {
    const segments = segmentsOf(control, tenant, epoch, limit);
    return openMoment(ctx, { ...baseOf(tenant, base), limit, segments, tables: namedTables(request) });
  };
}

/** An incremental backup, opened on all that it stands on. */
export function chainTarget(
  control: Queryable,
  { id: tenantId, key: tenantKey }: Tenant,
  { id }: Backup,
): (ctx: ChainContext) => Promise<BackupArchive> {
  return async (ctx) => {
    const { links } = await chainOf(control, tenantId, id);
    return await openIncremental(ctx, { tenantId, tenantKey, links });
  };
}

/** A backup as the base of a moment. */
export function baseOf(
  tenant: Tenant,
  { id, manifestSha256 }: Backup,
): Pick<MomentRequest, "tenantId" | "tenantKey" | "backupId" | "manifestSha256"> {
  return { tenantId: tenant.id, tenantKey: tenant.key, backupId: id, manifestSha256 };
}

/** The segments of an epoch that may hold something of the tenant, up to a limit where that narrows them. */
export function segmentsOf(
  control: Queryable,
  { sourceId, key }: Tenant,
  epoch: number,
  limit: RunMoment["limit"] | null,
): MomentRequest["segments"] {
  const until =
    limit?.kind === "time" ? { untilAt: BigInt(limit.at) } : limit?.kind === "lsn" ? { untilLsn: limit.lsn } : {};
  return async function* (fromXid): AsyncGenerator<SegmentPlace> {
    for await (const { objectKey, storedBytes } of listSegments(control, {
      sourceId,
      epoch,
      tenantKey: key,
      fromXid,
      ...until,
    })) {
      yield { key: objectKey, bytes: storedBytes };
    }
  };
}
