import {
  getCaptureStatus,
  getRestorePoint,
  getTenant,
  listEpochs,
  listGaps,
  listMomentBases,
  listProtectedTables,
  type Tenant,
  type TenantClient,
} from "@rowback/db";
import type { RunMoment } from "@rowback/jobs";
import {
  gapsOf,
  isoOfMicros,
  type MomentTarget,
  type Reach,
  rangesOf,
  reachesOf,
  resolveMoment,
  TableScope,
  tableLabel,
  type WindowGap,
} from "@rowback/recovery/plans";
import { z } from "zod";
import { notFound } from "./problem.ts";

/** A moment that can be restored to, ready for a run. */
export interface ChosenMoment {
  readonly tenant: Tenant;
  readonly backupId: string;
  readonly moment: RunMoment;
}

/** The base and the limit of a target. Throws `invalid_request`, `moment_unreachable` naming the window, `not_found`. */
export async function chooseMoment(
  client: TenantClient,
  target: MomentTarget,
  tables: readonly string[] | null,
  now: Date,
): Promise<ChosenMoment> {
  const { tenant, reaches } = await readReaches(client, await tablesFelt(client, tables));
  const point = "restorePoint" in target ? await getRestorePoint(client, target.restorePoint) : null;
  if ("restorePoint" in target && point === null) throw notFound("restore point");
  const { base, epoch, limit } = resolveMoment({ target, pointLsn: point?.lsn ?? null, reaches, now });
  return { tenant, backupId: base.backupId, moment: { asked: { ...target }, limit, epoch } };
}

/** Chosen tables, and those that tell whose their rows are: a gap of one of them is a gap. Null: of any table, also where that is not known. */
async function tablesFelt(client: TenantClient, tables: readonly string[] | null): Promise<string[] | null> {
  const tenant = tables === null ? null : await getTenant(client, client.tenantId);
  if (tables === null || tenant === null) return null;
  const discovered = await listProtectedTables(client, tenant.sourceId);
  const scopes = new Map(discovered.map(({ schemaName, tableName, scope }) => [`${schemaName}.${tableName}`, scope]));
  const felt = new Set(tables);
  for (const table of tables) {
    const scope = TableScope.safeParse(scopes.get(table));
    if (!scope.success) return null;
    if (scope.data.kind === "via") for (const { to } of scope.data.path) felt.add(tableLabel(to));
  }
  return [...felt];
}

/** Where a row's history begins: the oldest base of the unbroken log that goes on to now. Throws `moment_unreachable`. */
export async function oldestBase(
  client: TenantClient,
  table: string,
): Promise<{ tenant: Tenant; backupId: string; epoch: number }> {
  const { tenant, reaches } = await readReaches(client, [table]);
  const { base, epoch } = resolveMoment({
    target: { beforeTransaction: "1" },
    pointLsn: null,
    reaches,
    now: new Date(),
  });
  return { tenant, backupId: base.backupId, epoch };
}

/** The newest base there is, to know tables by; null when there is none. */
export async function newestBase(client: TenantClient): Promise<string | null> {
  const { reaches } = await readReaches(client, null);
  return reaches.findLast(({ epoch }) => epoch !== null)?.base.backupId ?? null;
}

/** How far the log leads on from one full backup; null: it is none that the log can go on from. */
export async function reachOfBase(client: TenantClient, backupId: string): Promise<Reach | null> {
  const { reaches } = await readReaches(client, null);
  return reaches.find(({ base }) => base.backupId === backupId) ?? null;
}

async function readReaches(
  client: TenantClient,
  tables: readonly string[] | null,
): Promise<{ tenant: Tenant; reaches: Reach[]; gaps: readonly WindowGap[] }> {
  const tenant = await getTenant(client, client.tenantId);
  if (tenant === null) throw notFound("tenant");
  const { sourceId, key: tenantKey } = tenant;
  const bases = await listMomentBases(client, { tenantId: tenant.id, sourceId });
  const epochs = await listEpochs(client, sourceId);
  const gaps = (await listGaps(client, { sourceId, tenantKey })).map(({ schemaName, tableName, ...gap }) => ({
    ...gap,
    table: schemaName === null ? null : `${schemaName}.${tableName}`,
  }));
  return { tenant, reaches: reachesOf({ bases, epochs, gaps, tables }), gaps: gapsOf(gaps, tables) };
}

const Micros = z.string().meta({ description: "ISO 8601 with microseconds, by the source's clock." });

/** What can be restored to, as clients see it. */
export const RecoveryWindowView = z
  .object({
    tenantId: z.uuid(),
    ranges: z.array(z.object({ from: Micros, to: Micros })).meta({
      description: "Every moment in them can be restored to; both ends belong to them.",
    }),
    gaps: z.array(
      z.object({
        reason: z.string(),
        table: z.string().nullable().meta({ description: "Null: all tables." }),
        from: Micros.meta({ description: "The last moment that is certain." }),
        until: Micros.nullable().meta({ description: "Where the window goes on; null: it takes another full backup." }),
      }),
    ),
    bases: z.array(z.object({ backupId: z.uuid(), at: Micros, reachesTo: Micros })),
    freshness: z
      .object({
        status: z.enum(["on", "off"]),
        coveredAt: Micros,
        behindSeconds: z.number().nonnegative(),
        problem: z.unknown(),
      })
      .nullable()
      .meta({ description: "How far the capture is behind, which is what would be lost now; null: never set up." }),
  })
  .meta({ id: "RecoveryWindow" });
export type RecoveryWindowView = z.infer<typeof RecoveryWindowView>;

/** The recovery window of the tenant, or of some of its tables (`schema.table`; null: all), as of now. */
export async function readRecoveryWindow(
  client: TenantClient,
  tables: readonly string[] | null,
  now: Date,
): Promise<RecoveryWindowView> {
  const { tenant, reaches, gaps } = await readReaches(client, await tablesFelt(client, tables));
  const usable = reaches.filter(({ epoch }) => epoch !== null);
  const ranges = rangesOf(usable);
  const state = await getCaptureStatus(client, tenant.sourceId);
  const epoch = (await listEpochs(client, tenant.sourceId)).at(-1);
  return {
    tenantId: tenant.id,
    ranges: ranges.map(({ from, to }) => ({ from: isoOfMicros(from), to: isoOfMicros(to) })),
    gaps: gaps.map(({ reason, table, beginsAt }) => {
      const until = ranges.find(({ from }) => from > beginsAt)?.from;
      return { reason, table, from: isoOfMicros(beginsAt), until: until === undefined ? null : isoOfMicros(until) };
    }),
    bases: usable.map(({ base, to }) => ({
      backupId: base.backupId,
      at: isoOfMicros(base.at),
      reachesTo: isoOfMicros(to.at),
    })),
    freshness:
      state === null || epoch === undefined
        ? null
        : {
            status: state.status,
            coveredAt: isoOfMicros(epoch.coveredAt),
            behindSeconds: Math.max(0, now.getTime() / 1_000 - Number(epoch.coveredAt) / 1_000_000),
            problem: state.problem,
          },
  };
}
