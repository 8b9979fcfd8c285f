import { z } from "zod";
import { RecoveryError } from "../../errors.ts";
import type { MomentLimit } from "./change-span.ts";
import { isoOfMicros, microsOfIso } from "./micros.ts";
import { nearestBase, type Reach, rangesOf, type WindowBase, type WindowGap } from "./window.ts";

/** A moment as somebody asks for it. */
export const MomentTarget = z.union([
  /** ISO 8601 with a zone: every transaction that was committed at this time or before. */
  z.strictObject({ time: z.string().max(50) }),
  /** `X/X`, as PostgreSQL prints WAL positions: every transaction that was committed at this position or before. */
  z.strictObject({
    lsn: z.string().regex(/^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/, "must be a WAL position such as 0/16B3748"),
  }),
  /** The 64-bit id of a transaction that changed rows of the tenant: everything that was committed before it. */
  z.strictObject({
    beforeTransaction: z.string().regex(/^[1-9]\d{0,19}$/, "must be a transaction's id, in decimal digits"),
  }),
  /** The name of a restore point. */
  z.strictObject({ restorePoint: z.string().min(1).max(200) }),
]);
export type MomentTarget = z.infer<typeof MomentTarget>;

/** A target, and what it comes down to. */
export interface ResolvedMoment {
  readonly base: WindowBase;
  readonly epoch: number;
  readonly limit: MomentLimit;
}

export interface ResolveInput {
  readonly target: MomentTarget;
  /** Of the restore point that the target names. */
  readonly pointLsn: string | null;
  readonly reaches: readonly Reach[];
  readonly now: Date;
}

/**
 * Chooses the base and the limit of a moment. `beforeTransaction` starts from the oldest base that the log goes on from without a break up to
 * now: only the log knows when the transaction was committed. Pure.
 *
 * @throws RecoveryError `invalid_request` (no such time, in the future), `moment_unreachable` naming the window, `not_found`
 */
export function resolveMoment({ target, pointLsn, reaches, now }: ResolveInput): ResolvedMoment {
  if ("time" in target) {
    const at = timeOf(target.time, now);
    return chosen(nearestBase(reaches, { at }), { kind: "time", at: at.toString() }, reaches, gapAt(reaches, at));
  }
  if ("beforeTransaction" in target) {
    return chosen(longest(reaches), { kind: "before", xid: target.beforeTransaction }, reaches, null);
  }
  const lsn = "lsn" in target ? digitsOf(target.lsn) : pointLsn;
  if (lsn === null) throw new RecoveryError("not_found", "There is no such restore point, or it is not written yet.");
  return chosen(nearestBase(reaches, { lsn }), { kind: "lsn", lsn }, reaches, null);
}

function timeOf(text: string, now: Date): bigint {
  const at = microsOfIso(text);
  if (at === null) {
    throw new RecoveryError("invalid_request", `target.time: "${text}" is no time`, {
      hint: "Give a real date and time with its zone in ISO 8601, such as 2026-11-27T14:31:07Z or 2026-11-27T15:31:07.250+01:00.",
    });
  }
  if (at > BigInt(now.getTime()) * 1_000n) {
    throw new RecoveryError("invalid_request", `target.time: ${isoOfMicros(at)} lies in the future`, {
      hint: `It is ${now.toISOString()} now.`,
    });
  }
  return at;
}

function chosen(
  reach: Reach | null,
  limit: MomentLimit,
  reaches: readonly Reach[],
  gap: WindowGap | null,
): ResolvedMoment {
  if (reach !== null && reach.epoch !== null) return { base: reach.base, epoch: reach.epoch, limit };
  const why = gap === null ? "" : ` It lies in a gap (${gap.reason}${gap.table === null ? "" : `, ${gap.table}`}).`;
  throw new RecoveryError("moment_unreachable", `This moment can't be had.${why} ${describeWindow(reaches)}`, {
    hint: "Choose a moment in the window (GET /v1/recovery-window), or a backup.",
  });
}

/** The window in words, for an answer that refuses a moment. */
export function describeWindow(reaches: readonly Reach[]): string {
  const captured = reaches.filter(({ epoch }) => epoch !== null);
  if (captured.length === 0)
    return "The recovery window is empty: no full backup was taken since the change log began.";
  const ranges = rangesOf(captured).slice(-5);
  return `The recovery window is ${ranges.map(({ from, to }) => `${isoOfMicros(from)} to ${isoOfMicros(to)}`).join(", ")}.`;
}

/** The gap that ended the reach of the last base before the time, if one did. */
function gapAt(reaches: readonly Reach[], at: bigint): WindowGap | null {
  const before = reaches.findLast(({ from }) => from.at <= at);
  return before?.gap ?? null;
}

/** The oldest of the bases from which the log goes on up to where it goes on from the newest one. */
function longest(reaches: readonly Reach[]): Reach | null {
  const newest = reaches.findLast(({ epoch }) => epoch !== null);
  return reaches.find(({ epoch, to }) => epoch === newest?.epoch && epoch !== null && to.lsn === newest.to.lsn) ?? null;
}

function digitsOf(lsn: string): string {
  const [high = "", low = ""] = lsn.toLowerCase().split("/");
  return high.padStart(8, "0") + low.padStart(8, "0");
}
