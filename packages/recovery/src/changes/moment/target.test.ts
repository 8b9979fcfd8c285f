import { expect, test } from "vitest";
import { isoOfMicros, microsOfIso } from "./micros.ts";
import { type MomentTarget, resolveMoment } from "./target.ts";
import { type Reach, rangesOf, reachesOf, type WindowBase, type WindowEpoch, type WindowGap } from "./window.ts";

const HOUR = 3_600_000_000n;
const MIDNIGHT = microsOfIso("2026-11-27T00:00:00Z") ?? 0n;
const NOW = new Date("2026-11-27T20:00:00Z");

const time = (hour: bigint): bigint => MIDNIGHT + hour * HOUR;
const lsn = (hour: bigint): string => (hour * 256n).toString(16).padStart(16, "0");
const iso = (hour: bigint, micros = 0n): string => isoOfMicros(time(hour) + micros);

/** A backup of this hour whose snapshot shows every transaction below `xid`. */
function base(hour: bigint, xid: bigint, running = ""): WindowBase {
  const xmin = running === "" ? xid : running.split(",")[0];
  return { backupId: `backup ${hour}`, pgSnapshot: `${xmin}:${xid}:${running}`, endLsn: lsn(hour), at: time(hour) };
}

function epoch(number: number, startXid: bigint, covered: bigint): WindowEpoch {
  return { epoch: number, startXid, coveredLsn: lsn(covered), coveredAt: time(covered) };
}

function gap(hour: bigint, causeXid: bigint | null, more: Partial<WindowGap> = {}): WindowGap {
  return {
    reason: "table_rewritten",
    epoch: 1,
    table: null,
    beginsLsn: lsn(hour),
    beginsAt: time(hour),
    causeXid,
    ...more,
  };
}

function reaches(
  more: { gaps?: WindowGap[]; tables?: string[] | null; bases?: WindowBase[]; epochs?: WindowEpoch[] } = {},
): Reach[] {
  return reachesOf({
    bases: more.bases ?? [base(1n, 50n), base(3n, 110n), base(9n, 200n)],
    epochs: more.epochs ?? [epoch(1, 100n, 19n)],
    gaps: more.gaps ?? [],
    tables: more.tables ?? null,
  });
}

const windows = (found: readonly Reach[]): string[] =>
  rangesOf(found.filter((one) => one.epoch !== null)).map(
    ({ from, to }) => `${isoOfMicros(from).slice(11, 13)}-${isoOfMicros(to).slice(11, 13)}`,
  );

function resolve(target: MomentTarget, of: Reach[] = reaches(), pointLsn: string | null = null): string {
  const { base: chosen, limit } = resolveMoment({ target, pointLsn, reaches: of, now: NOW });
  return `${chosen.backupId} ${JSON.stringify(limit)}`;
}

test("the window begins with the first backup that the log goes on from, and ends where the log is", () => {
  expect(windows(reaches())).toEqual(["03-19"]);
  expect(windows(reaches({ epochs: [] }))).toEqual([]);
  // Still running when the slot was made: what it wrote may be in front of it.
  expect(windows(reaches({ bases: [base(3n, 110n, "99")] }))).toEqual([]);
});

test("a gap ends the window until a backup whose snapshot shows its cause", () => {
  expect(windows(reaches({ gaps: [gap(5n, 150n)] }))).toEqual(["03-05", "09-19"]);
  expect(windows(reaches({ gaps: [gap(5n, 250n)] }))).toEqual(["03-05", "09-09"]);
  expect(windows(reaches({ gaps: [gap(5n, 150n)], bases: [base(3n, 110n), base(9n, 200n, "150")] }))).toEqual([
    "03-05",
    "09-09",
  ]);
});

test("a lost slot is a gap until a backup that is usable in the next epoch", () => {
  const epochs = [epoch(1, 100n, 6n), epoch(2, 180n, 19n)];
  expect(windows(reaches({ epochs, gaps: [gap(6n, null, { reason: "slot_lost" })] }))).toEqual(["03-06", "09-19"]);
});

test("a gap of one table is none for the others", () => {
  const gaps = [gap(5n, 150n, { table: "app.notes" })];
  expect(windows(reaches({ gaps, tables: ["app.items"] }))).toEqual(["03-19"]);
  expect(windows(reaches({ gaps, tables: ["app.notes"] }))).toEqual(["03-05", "09-19"]);
});

test("the nearest backup before the moment is the base", () => {
  expect(resolve({ time: iso(4n) })).toBe(`backup 3 {"kind":"time","at":"${time(4n)}"}`);
  expect(resolve({ time: "2026-11-27T12:00:00.5+02:00" })).toBe(
    `backup 9 {"kind":"time","at":"${time(10n) + 500_000n}"}`,
  );
  expect(resolve({ lsn: "0/500" })).toBe(`backup 3 {"kind":"lsn","lsn":"0000000000000500"}`);
  expect(resolve({ restorePoint: "x" }, reaches(), lsn(11n))).toBe(`backup 9 {"kind":"lsn","lsn":"${lsn(11n)}"}`);
  expect(resolve({ beforeTransaction: "150" })).toBe(`backup 3 {"kind":"before","xid":"150"}`);
});

test("a moment within the millisecond of a backup's snapshot is not its own: the clock was cut", () => {
  expect(resolve({ time: iso(9n, 999n) })).toMatch(/^backup 3/);
  expect(resolve({ time: iso(9n, 1_000n) })).toMatch(/^backup 9/);
});

test.each([
  ["2026-02-30T00:00:00Z", /is no time/],
  ["2026-11-27", /is no time/],
  ["2026-11-27T10:00:00", /is no time/],
  ["2026-11-27T24:00:00Z", /is no time/],
  ["yesterday", /is no time/],
  ["2026-11-27T20:00:00.000001Z", /in the future/],
])("%s is refused as bad input", (text, words) => {
  expect(() => resolve({ time: text })).toThrow(
    expect.objectContaining({ code: "invalid_request", message: expect.stringMatching(words) }),
  );
});

test("a moment outside the window, or in a gap, is refused with the window", () => {
  const outside = (target: MomentTarget, of: Reach[] = reaches()) =>
    expect(() => resolve(target, of)).toThrow(
      expect.objectContaining({
        code: "moment_unreachable",
        message: expect.stringContaining("2026-11-27T03:00:00.001000Z to "),
      }),
    );
  outside({ time: iso(2n) });
  outside({ time: iso(19n, 1n) });
  outside({ lsn: "0/200" });
  outside({ time: iso(7n) }, reaches({ gaps: [gap(5n, 150n)] }));
  expect(() => resolve({ time: iso(7n) }, reaches({ gaps: [gap(5n, 150n)] }))).toThrow(/in a gap \(table_rewritten\)/);
  expect(() => resolve({ time: iso(7n) }, reaches({ epochs: [] }))).toThrow(/the recovery window is empty/i);
});

test("times go to microseconds and back", () => {
  for (const text of ["2026-11-27T16:39:03.123456Z", "1999-12-31T23:59:59.999999Z", "2024-02-29T00:00:00.000000Z"]) {
    expect(isoOfMicros(microsOfIso(text) ?? 0n)).toBe(text);
  }
});
