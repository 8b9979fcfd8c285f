import { setTimeout as sleep } from "node:timers/promises";
import {
  getCaptureStatus,
  getMomentBase,
  listEpochs,
  listGaps,
  type MomentBase,
  type Queryable,
  type Tenant,
} from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import { type Reach, reachesOf } from "@rowback/recovery/plans";

const LOOK_EVERY_MS = 250;

/** A full backup with the log behind it, as far as that goes now. */
interface BaseReach {
  readonly reach: Reach;
  readonly epoch: number;
  /** Up to here every transaction, and every gap, is recorded. */
  readonly certainLsn: string;
  /** Whether it will go on. */
  readonly goesOn: boolean;
}

/** The epoch of the log that leads on from a full backup. Throws `chain_broken`, `moment_unreachable`. */
export async function epochBehind(control: Queryable, tenant: Tenant, baseId: string): Promise<number> {
  const base = await baseOfLog(control, tenant, baseId);
  return (await reachNow(control, tenant, base)).epoch;
}

/**
 * Waits until the log is certain to hold every transaction whose commit stands below a position, without a gap since the full backup.
 * @param waitMs how long at most
 * @throws RecoveryError `capture_behind` after that time; `moment_unreachable` where it never will; the signal's reason
 */
export async function untilLogged(
  control: Queryable,
  tenant: Tenant,
  wish: { readonly baseId: string; readonly lsn: string; readonly waitMs: number; readonly signal: AbortSignal },
): Promise<void> {
  const { baseId, lsn, waitMs, signal } = wish;
  const deadline = performance.now() + waitMs;
  for (;;) {
    signal.throwIfAborted();
    const base = await baseOfLog(control, tenant, baseId);
    const { reach, certainLsn, goesOn } = await reachNow(control, tenant, base);
    if (reach.gap !== null && reach.gap.beginsLsn <= lsn) throw unreachable(tenant, gapText(reach));
    if (certainLsn >= lsn) return;
    if (!goesOn) throw unreachable(tenant, "the source is not captured any more");
    if (performance.now() > deadline) {
      throw new RecoveryError(
        "capture_behind",
        `The change log is not there yet after ${Math.round(waitMs / 1_000)} s.`,
        {
          tenantId: tenant.id,
          sourceId: tenant.sourceId,
          hint: "See the source's capture (GET /v1/sources/:id/capture): is a worker running, and how far is it behind?",
        },
      );
    }
    await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
  }
}

async function baseOfLog(control: Queryable, tenant: Tenant, backupId: string): Promise<MomentBase> {
  const base = await getMomentBase(control, { tenantId: tenant.id, backupId });
  if (base !== null) return base;
  throw new RecoveryError("chain_broken", `Backup ${backupId} is not one that the change log leads on from.`, {
    tenantId: tenant.id,
    hint: "Take a full backup of all tables for later ones to stand on.",
  });
}

/** Gaps are read last: one that is declared belongs to what was certain before. */
async function reachNow(control: Queryable, tenant: Tenant, base: MomentBase): Promise<BaseReach> {
  const { sourceId, key: tenantKey } = tenant;
  const status = await getCaptureStatus(control, sourceId);
  const epochs = await listEpochs(control, sourceId);
  const gaps = (await listGaps(control, { sourceId, tenantKey })).map(({ schemaName, tableName, ...gap }) => ({
    ...gap,
    table: schemaName === null ? null : `${schemaName}.${tableName}`,
  }));
  const [reach] = reachesOf({ bases: [base], epochs, gaps, tables: null });
  const epoch = epochs.find((one) => one.epoch === reach?.epoch);
  if (reach === undefined || epoch === undefined) throw unreachable(tenant, "it was taken before the log began");
  const { coveredLsn, seenLsn, endedAt } = epoch;
  return {
    reach,
    epoch: epoch.epoch,
    certainLsn: seenLsn === null ? "" : ([coveredLsn, seenLsn].toSorted()[0] ?? ""),
    goesOn: status?.status === "on" && endedAt === null,
  };
}

function gapText({ gap }: Reach): string {
  return `there is a gap since (${gap?.reason}${gap?.table == null ? "" : `, ${gap.table}`})`;
}

function unreachable(tenant: Tenant, why: string): RecoveryError {
  return new RecoveryError("moment_unreachable", `The change log does not lead on from the full backup: ${why}.`, {
    tenantId: tenant.id,
    sourceId: tenant.sourceId,
    hint: "Take a full backup.",
  });
}
