import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { withSystem, withTenant } from "../tenant-context.ts";
import { type ControlFixture, controlFixture, newSource, newTenant } from "../testing/control-fixture.ts";
import {
  beginEpoch,
  type CaptureLease,
  getCaptureState,
  listEpochs,
  listUncaptured,
  releaseCapture,
  renewCapture,
  takeCapture,
  turnCaptureOff,
  turnCaptureOn,
} from "./capture-states.ts";
import { insertGaps, listGaps, type NewChangeGap } from "./change-gaps.ts";
import { listSegments, type NewChangeSegment, type SegmentFilter } from "./change-segments.ts";
import { publishSegments, replaceSegments } from "./publish-segments.ts";
import { deleteSource } from "./sources.ts";

let control: ControlFixture;
let sourceId: string;
beforeAll(async () => {
  control = await controlFixture("change_log");
});
afterAll(() => control.close());

const MICROS = 1_764_000_000_123_457n;

beforeEach(async () => {
  sourceId = await newSource(control.db);
  await withSystem(control.db, async (client) => {
    await turnCaptureOn(client, { sourceId, slotName: "s", publicationName: "p", findings: [] });
    await beginEpoch(client, { sourceId, startXid: 700n, startLsn: lsn(1), startedAt: MICROS });
  });
});

const lsn = (n: number): string => n.toString(16).padStart(16, "0");

async function take(leaseMs = 60_000): Promise<CaptureLease> {
  const lease = await takeCapture(control.db.system, { sourceId, worker: "w", leaseMs });
  if (lease === null) throw new Error("the capture is taken");
  return lease;
}

function segment(first: number, last: number, more: Partial<NewChangeSegment> = {}): NewChangeSegment {
  return {
    firstLsn: lsn(first),
    lastLsn: lsn(last),
    piece: 0,
    objectKey: `sources/${sourceId}/changes/00000001/${lsn(first)}-${lsn(last)}-000000`,
    firstAt: MICROS + BigInt(first),
    lastAt: MICROS + BigInt(last),
    maxXid: 700n + BigInt(last),
    continued: false,
    continues: false,
    transactions: 1,
    changes: 1,
    rawBytes: 10,
    storedBytes: 9,
    tenantKeys: ["acme"],
    hasShared: false,
    hasAlterations: false,
    ...more,
  };
}

async function found(filter: Partial<SegmentFilter> = {}): Promise<string[]> {
  const segments = [];
  for await (const one of listSegments(control.db.system, { sourceId, epoch: 1, tenantKey: null, ...filter })) {
    segments.push(`${Number.parseInt(one.firstLsn, 16)}-${Number.parseInt(one.lastLsn, 16)}`);
  }
  return segments;
}

const at = (n: number): { lsn: string; at: bigint } => ({ lsn: lsn(n), at: MICROS + BigInt(n) });

describe("the capture's lease", () => {
  test("one holder at a time; whoever comes after its end makes the old one's writes impossible", async () => {
    const q = control.db.system;
    const old = await take(1);
    await expect.poll(() => listUncaptured(q)).toContain(sourceId);
    const next = await take();
    expect(await takeCapture(q, { sourceId, worker: "third", leaseMs: 1 })).toBeNull();
    expect(await renewCapture(q, old, 60_000)).toBeNull();
    expect(await publishSegments(q, old, 1, [segment(2, 3)], at(3))).toBe(false);
    expect(await found()).toEqual([]);
    expect(await publishSegments(q, next, 1, [segment(2, 3)], at(3))).toBe(true);
    expect(await found()).toEqual(["2-3"]);
  });

  test("turning the capture off ends it", async () => {
    const lease = await take();
    await turnCaptureOff(control.db.system, sourceId);
    expect(await renewCapture(control.db.system, lease, 60_000)).toBeNull();
    expect(await listUncaptured(control.db.system)).not.toContain(sourceId);
  });

  test("a released one can be taken at once", async () => {
    await releaseCapture(control.db.system, await take());
    expect((await getCaptureState(control.db.system, sourceId))?.worker).toBeNull();
    await take();
  });

  test("a source that is captured is not forgotten: its slot would hold WAL for ever", async () => {
    expect(await deleteSource(control.db.system, sourceId)).toBe("in_use");
    await turnCaptureOff(control.db.system, sourceId);
    expect(await deleteSource(control.db.system, sourceId)).toBe("deleted");
  });
});

describe("segments", () => {
  test("are found by tenant, by shared part, by xid, position and moment, in commit order", async () => {
    const lease = await take();
    const segments = [
      segment(2, 3),
      segment(4, 5, { tenantKeys: ["zenith"] }),
      segment(6, 7, { tenantKeys: [], hasShared: true }),
      segment(8, 9, { tenantKeys: ["zenith", "acme"] }),
    ];
    await publishSegments(control.db.system, lease, 1, segments, at(9));
    expect(await found({ tenantKey: "acme" })).toEqual(["2-3", "6-7", "8-9"]);
    expect(await found({ tenantKey: "zenith", fromXid: 707n })).toEqual(["6-7", "8-9"]);
    expect(await found({ untilLsn: lsn(6) })).toEqual(["2-3", "4-5", "6-7"]);
    expect(await found({ untilAt: MICROS + 4n })).toEqual(["2-3", "4-5"]);
  });

  test("microseconds and 64-bit ids come back as they went in, and the covered position never goes back", async () => {
    const lease = await take();
    const maxXid = 2n ** 40n + 1n;
    await publishSegments(control.db.system, lease, 1, [segment(2, 3, { maxXid })], at(9));
    await publishSegments(control.db.system, lease, 1, [], at(5));
    for await (const one of listSegments(control.db.system, { sourceId, epoch: 1, tenantKey: null }))
      expect(one).toMatchObject({ firstAt: MICROS + 2n, lastAt: MICROS + 3n, maxXid });
    expect(await listEpochs(control.db.system, sourceId)).toMatchObject([
      { epoch: 1, startXid: 700n, startedAt: MICROS, coveredLsn: lsn(9), coveredAt: MICROS + 9n, endedAt: null },
    ]);
  });

  test("a wider one takes the place of those it holds only while all of them are there", async () => {
    const q = control.db.system;
    const lease = await take();
    const [a, b, wide] = [segment(2, 3), segment(4, 5), segment(2, 5)];
    await publishSegments(q, lease, 1, [a, b], at(5));
    expect(await replaceSegments(q, lease, 1, [a.objectKey, "gone"], wide)).toBe(false);
    expect(await found()).toEqual(["2-3", "4-5"]);
    expect(await replaceSegments(q, lease, 1, [a.objectKey, b.objectKey], wide)).toBe(true);
    expect(await found()).toEqual(["2-5"]);
  });
});

test("a tenant sees its own gaps and those of all, never another's", async () => {
  await newTenant(control.db, sourceId, "zenith");
  const gap: NewChangeGap = {
    sourceId,
    epoch: 1,
    reason: "tenant_moved",
    tenantKey: "acme",
    schemaName: null,
    tableName: null,
    beginsLsn: lsn(5),
    beginsAt: MICROS,
    causeXid: 705n,
    objectKey: "a",
  };
  const gaps: NewChangeGap[] = [
    gap,
    { ...gap, tenantKey: "zenith", objectKey: "z" },
    { ...gap, tenantKey: null, reason: "slot_lost", causeXid: null, objectKey: "all" },
  ];
  await insertGaps(control.db.system, [...gaps, gap]);
  const tenantId = await newTenant(control.db, sourceId, "acme");
  const seen = await withTenant(control.db, tenantId, (client) =>
    client.query({ text: "SELECT object_key FROM change_gaps ORDER BY 1" }),
  );
  expect(seen.rows).toEqual([{ object_key: "a" }, { object_key: "all" }]);
  expect(await listGaps(control.db.system, { sourceId, tenantKey: "acme" })).toMatchObject([
    { reason: "slot_lost", causeXid: null, beginsAt: MICROS },
    { reason: "tenant_moved", causeXid: 705n },
  ]);
});
