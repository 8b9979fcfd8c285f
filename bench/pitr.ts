import type { ObjectStore } from "@rowback/storage";
import type { BackupArchive } from "../packages/recovery/src/archive/backup-reader.ts";
import { NO_ROWS } from "../packages/recovery/src/archive/fingerprint.ts";
import { MemoryStore } from "../packages/recovery/src/archive/testing/memory-store.ts";
import { mergeSegments } from "../packages/recovery/src/changes/compaction/merge.ts";
import { MOST_MERGED_BYTES } from "../packages/recovery/src/changes/compaction/plan.ts";
import type { Relation } from "../packages/recovery/src/changes/log/segment-index.ts";
import { openSegment, readBlocks } from "../packages/recovery/src/changes/log/segment-reader.ts";
import { SegmentWriter, type WrittenSegment } from "../packages/recovery/src/changes/log/segment-writer.ts";
import { changeSpan } from "../packages/recovery/src/changes/moment/change-span.ts";
import { momentOf } from "../packages/recovery/src/changes/moment/moment-archive.ts";
import { MomentLog, type SegmentPlace } from "../packages/recovery/src/changes/moment/moment-log.ts";
import { inTurns, peakRssMib, ratio, report, seconds } from "./measure.ts";

/**
 * What opening a moment costs against the log's length. One tenant writes; beside it, each segment holds as many changes of others as the case
 * says, every one by another tenant: the worst for an index by tenant. Logs are merged into segments of 64 MiB, as the worker's steps end up;
 * `fresh` ones are not, as in the first minutes of a log. The store is this process's memory: what is measured is the work; how much is asked of a
 * store is in `requests_` and `kib_`. The peer reads the log without an index by tenant.
 *
 * `npm run bench -- pitr [--rounds 5]`
 */
const ROUNDS = 5;
/** A segment every ten seconds. */
const HOUR = 360;
const DAY = 24 * HOUR;
/** The tenant's changes in all, whatever the log's length. */
const OWN = 3_600;
const SOURCE_ID = "33333333-3333-4333-8333-333333333333";
const OURS = "ours";
const NOTE = "x".repeat(120);

interface Case {
  readonly segments: number;
  readonly own: number;
  /** Changes of others in all. */
  readonly others: number;
  readonly merged: boolean;
}

const CASES = {
  fresh_1h: { segments: HOUR, own: OWN, others: OWN, merged: false },
  fresh_1h_others_x10: { segments: HOUR, own: OWN, others: 10 * OWN, merged: false },
  fresh_1h_others_x100: { segments: HOUR, own: OWN, others: 100 * OWN, merged: false },
  merged_1h: { segments: HOUR, own: OWN, others: OWN, merged: true },
  merged_1h_others_x10: { segments: HOUR, own: OWN, others: 10 * OWN, merged: true },
  merged_1h_others_x100: { segments: HOUR, own: OWN, others: 100 * OWN, merged: true },
  merged_24h: { segments: DAY, own: OWN, others: 24 * OWN, merged: true },
  merged_1h_own_x10: { segments: HOUR, own: 10 * OWN, others: 10 * OWN, merged: true },
} as const satisfies Record<string, Case>;
type CaseName = keyof typeof CASES;
const NAMES = Object.keys(CASES) as CaseName[];

const RELATION: Relation = {
  table: { schema: "app", name: "tasks" },
  scope: { kind: "direct", column: "tenant_id" },
  identity: "full",
  columns: ["id", "tenant_id", "note"].map((name, at) => ({
    name,
    type: "text",
    attnum: at + 1,
    key: true,
    missing: null,
  })),
};

/** Everybody inserts a row and deletes it with the next change. */
async function writeLog(store: ObjectStore, epoch: number, { segments, own, others }: Case): Promise<WrittenSegment[]> {
  const written: WrittenSegment[] = [];
  let lsn = 4_096;
  const made = { own: 0, others: 0 };
  for (let segment = 1; segment <= segments; segment += 1) {
    const writer = new SegmentWriter({ sourceId: SOURCE_ID, epoch, piece: 0, continued: false });
    const add = (tenant: string, n: number): void => {
      lsn += 256;
      const transaction = { lsn: lsn.toString(16).padStart(16, "0"), xid: `${lsn}`, at: `${lsn}` };
      const row = Buffer.from(`${n - (n % 2)}\t${tenant}\t${NOTE}`);
      writer.add({ tenant, relation: RELATION, transaction, op: n % 2 === 0 ? "I" : "D", seq: 0, row });
    };
    for (; made.own < (own * segment) / segments; made.own += 1) add(OURS, made.own);
    const first = made.others;
    for (; made.others < (others * segment) / segments; made.others += 1) add(`t${made.others - first}`, segment);
    if (!writer.isEmpty) written.push(await writer.put(store, { continues: false }));
  }
  return written;
}

async function mergeLog(
  store: ObjectStore,
  epoch: number,
  written: readonly WrittenSegment[],
): Promise<WrittenSegment[]> {
  const { signal } = new AbortController();
  const merged: WrittenSegment[] = [];
  let group: WrittenSegment[] = [];
  const end = async (): Promise<void> => {
    const segments = group.map(({ key, bytes }) => ({ objectKey: key, storedBytes: bytes }));
    if (segments.length > 0) merged.push(await mergeSegments(store, { sourceId: SOURCE_ID, epoch, segments, signal }));
    group = [];
  };
  for (const segment of written) {
    const bytes = group.reduce((sum, { index }) => sum + index.rawBytes, segment.index.rawBytes);
    if (bytes > MOST_MERGED_BYTES) await end();
    group.push(segment);
  }
  await end();
  return merged;
}

/** What the control database gives of a log: the segments that have something of the tenant. */
function placesOf(log: readonly WrittenSegment[]): SegmentPlace[] {
  return log
    .filter(({ index }) => index.blocks.some(({ tenant }) => tenant === OURS || tenant === null))
    .map(({ key, bytes }) => ({ key, bytes }));
}

const base: BackupArchive = {
  manifest: {
    format: "rowback",
    version: 1,
    backupId: SOURCE_ID,
    tenantId: SOURCE_ID,
    sourceId: SOURCE_ID,
    tenantKey: OURS,
    type: "full",
    parentBackupId: null,
    baseBackupId: null,
    createdAt: new Date().toISOString(),
    snapshot: { pgSnapshot: "10:10:", lsn: "0/1", at: new Date().toISOString() },
    server: { version: "18.4", versionNumber: 180_004, encoding: "UTF8" },
    session: {},
    compression: "gzip",
    encryption: null,
    tables: [
      {
        table: RELATION.table,
        scope: RELATION.scope,
        columns: RELATION.columns.map(({ name, type }, at) => ({
          name,
          type,
          attnum: at + 1,
          notNull: false,
          identity: null,
        })),
        key: ["id"],
        rawBytes: 0,
        fingerprint: NO_ROWS,
        ranges: [],
      },
    ],
    parts: [],
    sequences: [],
    schema: "",
  },
  manifestSha256: "0".repeat(64),
  readTable: async function* () {},
  verify: async () => {},
};

/** Opens the moment and reads all of it. */
async function openMoment(store: ObjectStore, places: readonly SegmentPlace[]): Promise<void> {
  const span = changeSpan("10:10:", { kind: "lsn", lsn: "f".repeat(16) });
  const moment = await momentOf(base, await MomentLog.open(store, places, { tenantKey: OURS, span }));
  for await (const _rows of moment.readTable(RELATION.table)) {
    // To the end.
  }
  const rows = moment.manifest.tables[0]?.fingerprint.rows;
  if (rows !== 0) throw new Error(`every row was deleted, but ${rows} came back`);
}

/** What has to be done without an index by tenant: every block of everybody. */
async function readEverything(store: ObjectStore, places: readonly SegmentPlace[]): Promise<void> {
  for (const { key, bytes } of places) {
    const segment = await openSegment(store, key, bytes);
    for await (const _block of readBlocks(store, segment, segment.index.blocks)) {
      // To the end.
    }
  }
}

/** The same store, and what is read from it. */
function counting(store: ObjectStore): { store: ObjectStore; read: { requests: number; bytes: number } } {
  const read = { requests: 0, bytes: 0 };
  const get: ObjectStore["get"] = async (key, options) => {
    read.requests += 1;
    read.bytes += options?.range?.length ?? 0;
    return await store.get(key, options);
  };
  return { read, store: new Proxy(store, { get: (target, name) => (name === "get" ? get : bound(target, name)) }) };
}

function bound(target: ObjectStore, name: string | symbol): unknown {
  const value: unknown = Reflect.get(target, name, target);
  return typeof value === "function" ? value.bind(target) : value;
}

const store = new MemoryStore();
const places = new Map<string, SegmentPlace[]>();
const figures: Record<string, number | string> = { bench: "pitr", own_changes: OWN };
for (const [epoch, name] of NAMES.entries()) {
  const wish = CASES[name];
  const written = await writeLog(store, epoch, wish);
  places.set(name, placesOf(wish.merged ? await mergeLog(store, epoch, written) : written));
  const counted = counting(store);
  await openMoment(counted.store, places.get(name) ?? []);
  figures[`kib_${name}`] = Math.round(counted.read.bytes / 1_024);
  figures[`requests_${name}`] = counted.read.requests;
  console.log(`${name}: ${places.get(name)?.length} segments, ${JSON.stringify(counted.read)}`);
}
const opening = NAMES.map((name) => [name, () => seconds(() => openMoment(store, places.get(name) ?? []))] as const);
const everything = () => seconds(() => readEverything(store, places.get("merged_1h_others_x100") ?? []));
const took = await inTurns<CaseName | "everything">(ROUNDS, {
  ...(Object.fromEntries(opening) as Record<CaseName, () => Promise<number>>),
  everything,
});
for (const name of NAMES) figures[`seconds_${name}`] = Number(took(name).toFixed(3));
report({
  ...figures,
  growth_others_x100: ratio(took("merged_1h_others_x100"), took("merged_1h")),
  growth_others_x100_fresh: ratio(took("fresh_1h_others_x100"), took("fresh_1h")),
  growth_24h: ratio(took("merged_24h"), took("merged_1h")),
  growth_own_x10: ratio(took("merged_1h_own_x10"), took("merged_1h_others_x10")),
  faster_than_without_index: ratio(took("everything"), took("merged_1h_others_x100")),
  peak_rss_mib: Math.round(await peakRssMib()),
});
