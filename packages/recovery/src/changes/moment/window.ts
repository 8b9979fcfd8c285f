import { parsePgSnapshot, shows } from "./pg-snapshot.ts";

/** A full backup that changes can be folded into. Times are microseconds since 1970, LSNs 16 hexadecimal digits. */
export interface WindowBase {
  readonly backupId: string;
  readonly pgSnapshot: string;
  /** A WAL position, and the source's clock to the millisecond below, read after the snapshot. */
  readonly endLsn: string;
  readonly at: bigint;
}

/** One slot's time (docs/CHANGE-LOG.md, "From WAL to objects"). */
export interface WindowEpoch {
  readonly epoch: number;
  readonly startXid: bigint;
  /** Everything committed up to there is in the log. */
  readonly coveredLsn: string;
  readonly coveredAt: bigint;
}

/** A declared gap that concerns the tenant. */
export interface WindowGap {
  readonly reason: string;
  readonly epoch: number;
  /** `schema.table`; null: all tables. */
  readonly table: string | null;
  /** The last moment that is certain. */
  readonly beginsLsn: string;
  readonly beginsAt: bigint;
  /** The gap is over for a backup whose snapshot shows it; null: for one that is usable in a later epoch. */
  readonly causeXid: bigint | null;
}

/** Moments that one base and the log behind it reach; both ends belong to it. */
export interface Reach {
  readonly base: WindowBase;
  /** Null: the log has nothing behind it, so only the backup itself can be had. */
  readonly epoch: number | null;
  readonly from: Position;
  readonly to: Position;
  /** What ends it before the log does; null: nothing. */
  readonly gap: WindowGap | null;
}

export interface Position {
  readonly lsn: string;
  readonly at: bigint;
}

export interface WindowInput {
  readonly bases: readonly WindowBase[];
  readonly epochs: readonly WindowEpoch[];
  readonly gaps: readonly WindowGap[];
  /** Only gaps of these tables, and those of all, matter; null: of any table. */
  readonly tables: readonly string[] | null;
}

/** What each base reaches, in the order of the bases. Pure. */
export function reachesOf({ bases, epochs, gaps, tables }: WindowInput): Reach[] {
  const felt = gapsOf(gaps, tables);
  return bases.map((base) => reachOf(base, epochs, felt));
}

/** The gaps of these tables, and those of all; null: of any table. Pure. */
export function gapsOf<T extends Pick<WindowGap, "table">>(gaps: readonly T[], tables: readonly string[] | null): T[] {
  return gaps.filter(({ table }) => tables === null || table === null || tables.includes(table));
}

/** A base is usable in an epoch when every transaction that it does not show began after the slot; it is of the last such epoch. */
function reachOf(base: WindowBase, epochs: readonly WindowEpoch[], gaps: readonly WindowGap[]): Reach {
  // The clock was cut to milliseconds: what the snapshot shows may have been committed within the next one.
  const from = { lsn: base.endLsn, at: base.at + 1_000n };
  const snapshot = parsePgSnapshot(base.pgSnapshot);
  const epoch = epochs.findLast(({ startXid }) => snapshot.xmin >= startXid);
  if (epoch === undefined) return { base, epoch: null, from, to: from, gap: null };
  const open = gaps
    .filter((gap) => gap.epoch === epoch.epoch && (gap.causeXid === null || !shows(snapshot, gap.causeXid)))
    .toSorted((a, b) => (a.beginsLsn < b.beginsLsn ? -1 : 1));
  const [gap = null] = open;
  const covered = { lsn: epoch.coveredLsn, at: epoch.coveredAt };
  const end = gap !== null && gap.beginsLsn < covered.lsn ? { lsn: gap.beginsLsn, at: gap.beginsAt } : covered;
  const to = { lsn: end.lsn > from.lsn ? end.lsn : from.lsn, at: end.at > from.at ? end.at : from.at };
  return { base, epoch: epoch.epoch, from, to, gap };
}

/** Moments in a row that can all be had. */
export interface WindowRange {
  readonly from: bigint;
  readonly to: bigint;
}

/** The window as ranges of time: what overlaps or touches is one. Pure. */
export function rangesOf(reaches: readonly Reach[]): WindowRange[] {
  const ranges: { from: bigint; to: bigint }[] = [];
  for (const { from, to } of reaches.toSorted((a, b) => (a.from.at < b.from.at ? -1 : 1))) {
    const last = ranges.at(-1);
    if (last === undefined || from.at > last.to) ranges.push({ from: from.at, to: to.at });
    else if (to.at > last.to) last.to = to.at;
  }
  return ranges;
}

/** The nearest base that reaches a moment, given by time or by LSN; null: none does. Pure. */
export function nearestBase(
  reaches: readonly Reach[],
  moment: { readonly at: bigint } | { readonly lsn: string },
): Reach | null {
  const found = reaches.findLast(({ epoch, from, to }) => {
    if (epoch === null) return false;
    return "at" in moment ? from.at <= moment.at && moment.at <= to.at : from.lsn <= moment.lsn && moment.lsn <= to.lsn;
  });
  return found ?? null;
}
