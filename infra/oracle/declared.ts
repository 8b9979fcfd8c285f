import { type ControlDatabase, listEpochs, listGaps, listMomentBases } from "@rowback/db";
import { type Reach, reachesOf } from "@rowback/recovery/plans";
import { lastBefore } from "./compare.ts";
import type { Point } from "./points.ts";
import type { OracleSystem, OracleTenant } from "./system.ts";

/** A moment as the log counts: the last position that belongs to it, or the last microsecond. */
export type Limit = { readonly kind: "lsn"; readonly lsn: string } | { readonly kind: "time"; readonly at: string };

export function limitOf({ target }: Pick<Point, "target">): Limit {
  if ("lsn" in target) return { kind: "lsn", lsn: lastBefore(target.lsn) };
  return { kind: "time", at: String(BigInt(Date.parse(target.time)) * 1000n + BigInt(target.time.slice(23, 26))) };
}

/** What each base of a tenant reaches, as the API tells it: the rest lies in declared gaps. */
export async function readReaches(
  { system }: ControlDatabase,
  { sourceId }: OracleSystem,
  tenant: OracleTenant,
): Promise<ReadonlyMap<string, Reach>> {
  const bases = await listMomentBases(system, { tenantId: tenant.id, sourceId });
  const epochs = await listEpochs(system, sourceId);
  const gaps = await listGaps(system, { sourceId, tenantKey: String(tenant.account) });
  const reaches = reachesOf({
    bases,
    epochs,
    gaps: gaps.map(({ schemaName, tableName, ...gap }) => ({
      ...gap,
      table: schemaName === null ? null : `${schemaName}.${tableName}`,
    })),
    tables: null,
  });
  return new Map(reaches.map((reach) => [reach.base.backupId, reach]));
}

/** Whether the window promises this moment from this base. */
export function isPromised({ epoch, from, to }: Reach, limit: Limit): boolean {
  if (epoch === null) return false;
  if (limit.kind === "lsn") return from.lsn <= limit.lsn && limit.lsn <= to.lsn;
  return from.at <= BigInt(limit.at) && BigInt(limit.at) <= to.at;
}
