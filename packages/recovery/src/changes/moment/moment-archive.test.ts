import fc from "fast-check";
import { expect, test } from "vitest";
import type { BackupArchive } from "../../archive/backup-reader.ts";
import { FingerprintSum } from "../../archive/fingerprint.ts";
import type { Manifest } from "../../archive/manifest.ts";
import { MemoryStore } from "../../archive/testing/memory-store.ts";
import { testManifest } from "../../archive/testing/written-backup.ts";
import { RecoveryError } from "../../errors.ts";
import { tableLabel } from "../../postgres/tenancy.ts";
import type { Relation } from "../log/segment-index.ts";
import { changeSpan, type KnownLimit } from "./change-span.ts";
import { momentOf } from "./moment-archive.ts";
import { MomentLog } from "./moment-log.ts";
import { ITEMS, KEYS, PARTS, type RandomHistory, RELATIONS, randomHistory } from "./testing/random-history.ts";
import { storeSegments } from "./testing/scripted-log.ts";

const TENANT = "a";
/** By hand it was run with 1,000. */
const RUNS = 40;

test("the base with the changes folded in is the tenant at the moment, whatever was written, in any number of passes", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        seed: fc.integer(),
        itemsMove: fc.boolean(),
        length: fc.integer({ min: 1, max: 40 }),
        base: fc.nat(),
        moment: fc.nat(),
        perSegment: fc.integer({ min: 1, max: 9 }),
        mostHeldBytes: fc.constantFrom(250, 1_000, 100_000),
        kind: fc.constantFrom("lsn", "time", "snapshot"),
      }),
      async ({ seed, length, itemsMove, perSegment, mostHeldBytes, kind, ...chosen }) => {
        const history = randomHistory(seed, length, itemsMove);
        const base = chosen.base % (length + 1);
        const moment = base + (chosen.moment % (length + 1 - base));
        const log = await openLog(history, base, limitOf(history, moment, kind), perSegment);
        const opened = await momentOf(archiveOf(history, base), log, { mostHeldBytes }).catch(refusal);
        if (!("readTable" in opened)) {
          expect(opened.code).toBe("moment_unreachable");
          expect(history.moves.some((at) => at > base && at <= moment)).toBe(true);
          return;
        }
        const archive = opened;
        expect(await rowsOf(archive)).toEqual(expected(history, moment));
        for (const { table, fingerprint, rawBytes } of archive.manifest.tables) {
          const text = textOf(history.states[moment]?.rows[TENANT]?.[table.name] ?? []);
          expect({ table, fingerprint, rawBytes }).toEqual({ table, ...sumOf(text) });
        }
      },
    ),
    { numRuns: RUNS },
  );
});

test("a transaction that two segments hold comes once: a reader may be given a merged segment and what it was merged of", async () => {
  const history = randomHistory(11, 30);
  const store = new MemoryStore();
  const small = await storeSegments(store, history.transactions, 4);
  const merged = await storeSegments(store, history.transactions, 30);
  const span = changeSpan(history.states[0]?.pgSnapshot ?? "", limitOf(history, 30, "lsn"));
  for (const places of [
    [...small, ...merged],
    [...merged, ...small],
  ]) {
    const log = await MomentLog.open(store, places, { tenantKey: TENANT, span });
    expect(await rowsOf(await momentOf(archiveOf(history, 0), log))).toEqual(expected(history, 30));
  }
});

test("reading that gives other rows than opening did is never taken for the moment", async () => {
  const history = randomHistory(11, 30);
  const log = await openLog(history, 0, limitOf(history, 30, "lsn"));
  const [before, after] = [archiveOf(history, 0), archiveOf(history, 30)];
  let isOpen = false;
  const unsteady: BackupArchive = { ...before, readTable: (table) => (isOpen ? after : before).readTable(table) };
  const moment = await momentOf(unsteady, log);
  isOpen = true;
  await expect(rowsOf(moment)).rejects.toMatchObject({ code: "change_log_damaged" });
});

test("a row that went to another tenant is refused where rows hang on it, which went with it unwritten; else it is just gone", async () => {
  const rows = { items: [["big", "1", "a", "note"]], parts: [["10", "1", "x"]], notes: [], bag: [] };
  const moved = (relation: Relation, row: string[]): Pick<RandomHistory, "transactions" | "states"> => ({
    states: [{ pgSnapshot: "10:10:", rows: { [TENANT]: rows } }],
    transactions: [
      { lsn: 16n, xid: 11n, at: 1n, lines: [{ tenant: null, relation, op: "M", seq: 0, row, movedTo: "b" }] },
    ],
  });
  const open = async (
    history: Pick<RandomHistory, "transactions" | "states">,
    tables: readonly string[] | null = null,
  ): Promise<BackupArchive> =>
    momentOf(archiveOf(history, 0), await openLog(history, 0, limitOf(history, 1, "lsn")), { tables });
  const item = moved(ITEMS, ["\\U", "1", "\\U", "\\U"]);
  for (const tables of [null, ["app.parts"], ["app.items", "app.parts"]])
    await expect(open(item, tables)).rejects.toMatchObject({
      code: "moment_unreachable",
      message: expect.stringContaining("app.items"),
    });
  expect(await rowsOf(await open(item, ["app.items"]))).toEqual({ "app.items": [] });
  expect(await rowsOf(await open(item, ["app.notes"]))).toEqual({ "app.notes": [] });
  const left = await rowsOf(await open(moved(PARTS, ["10", "\\U", "\\U"])));
  expect(left).toMatchObject({ "app.parts": [], "app.items": ["big\t1\ta\tnote"] });
});

test("a block that was altered, or a segment that is gone, is noticed and named", async () => {
  const history = randomHistory(7, 20);
  const store = new MemoryStore();
  const places = await storeSegments(store, history.transactions, 20);
  const [place] = places;
  const object = store.objects.get(place?.key ?? "");
  if (place === undefined || object === undefined) throw new Error("nothing was stored");
  const span = changeSpan(history.states[0]?.pgSnapshot ?? "", limitOf(history, 20, "lsn"));
  const log = await MomentLog.open(store, places, { tenantKey: TENANT, span });
  for (let at = 0; at < object.bytes.length; at += 97) {
    const whole = Buffer.from(object.bytes);
    object.bytes.writeUInt8(object.bytes.readUInt8(at) ^ 1, at);
    const reopened = MomentLog.open(store, places, { tenantKey: TENANT, span });
    const read = reopened.then((damaged) => momentOf(archiveOf(history, 0), damaged)).then(rowsOf);
    // A block of the other tenant alone is not ours to notice.
    const outcome = await read.catch((error: unknown) => error);
    if (outcome instanceof Error) expect(outcome).toMatchObject({ code: "change_log_damaged" });
    else expect(outcome).toEqual(expected(history, 20));
    object.bytes = whole;
  }
  store.objects.delete(place.key);
  await expect(momentOf(archiveOf(history, 0), log)).rejects.toMatchObject({ code: "change_log_damaged" });
  await expect(MomentLog.open(store, places, { tenantKey: TENANT, span })).rejects.toMatchObject({
    code: "change_log_damaged",
  });
});

function refusal(error: unknown): RecoveryError {
  if (error instanceof RecoveryError) return error;
  throw error;
}

function limitOf(history: Pick<RandomHistory, "transactions" | "states">, moment: number, kind: string): KnownLimit {
  const last = history.transactions[moment - 1] ?? { lsn: 0n, at: 0n };
  if (kind === "lsn") return { kind: "lsn", lsn: last.lsn.toString(16).padStart(16, "0") };
  if (kind === "time") return { kind: "time", at: last.at.toString() };
  return { kind: "snapshot", pgSnapshot: history.states[moment]?.pgSnapshot ?? "" };
}

async function openLog(
  history: Pick<RandomHistory, "transactions" | "states">,
  base: number,
  limit: KnownLimit,
  perSegment = 3,
): Promise<MomentLog> {
  const store = new MemoryStore();
  return MomentLog.open(store, await storeSegments(store, history.transactions, perSegment), {
    tenantKey: TENANT,
    span: changeSpan(history.states[base]?.pgSnapshot ?? "", limit),
  });
}

/** The backup of a state. */
function archiveOf(history: Pick<RandomHistory, "states">, at: number): BackupArchive {
  const rows = history.states[at]?.rows[TENANT] ?? {};
  const tables: Manifest["tables"] = RELATIONS.map(({ table, scope, columns }) => ({
    table,
    scope,
    columns: columns.map(({ name, type }, at) => ({ name, type, attnum: at + 1, notNull: false, identity: null })),
    key: KEYS[table.name] ?? null,
    ...sumOf(textOf(rows[table.name] ?? [])),
    ranges: [],
  }));
  return {
    manifest: { ...testManifest(tables, []), tenantKey: TENANT },
    manifestSha256: "0".repeat(64),
    readTable: async function* ({ name }) {
      const text = textOf(rows[name] ?? []);
      if (text.length > 0) yield text;
    },
    verify: async () => {},
  };
}

function textOf(rows: readonly (readonly string[])[]): Buffer {
  return Buffer.from(rows.map((row) => `${row.join("\t")}\n`).join(""), "latin1");
}

function sumOf(text: Buffer): { rawBytes: number; fingerprint: Manifest["tables"][number]["fingerprint"] } {
  const sum = new FingerprintSum();
  sum.addText(text);
  return { rawBytes: text.length, fingerprint: sum.result() };
}

async function rowsOf(archive: BackupArchive): Promise<Record<string, string[]>> {
  const rows: Record<string, string[]> = {};
  for (const { table } of archive.manifest.tables) {
    const pieces: Buffer[] = [];
    for await (const piece of archive.readTable(table)) pieces.push(piece);
    rows[tableLabel(table)] = Buffer.concat(pieces).toString("latin1").split("\n").slice(0, -1).toSorted();
  }
  return rows;
}

function expected(history: RandomHistory, at: number): Record<string, string[]> {
  const rows = history.states[at]?.rows[TENANT] ?? {};
  return Object.fromEntries(
    RELATIONS.map(({ table }) => [tableLabel(table), (rows[table.name] ?? []).map((row) => row.join("\t")).toSorted()]),
  );
}
