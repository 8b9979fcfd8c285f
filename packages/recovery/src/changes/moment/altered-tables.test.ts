import { expect, test } from "vitest";
import type { BackupArchive } from "../../archive/backup-reader.ts";
import { FingerprintSum } from "../../archive/fingerprint.ts";
import type { ManifestTable } from "../../archive/manifest.ts";
import { MemoryStore } from "../../archive/testing/memory-store.ts";
import { testManifest } from "../../archive/testing/written-backup.ts";
import type { Relation } from "../log/segment-index.ts";
import { changeSpan, type KnownLimit } from "./change-span.ts";
import { momentOf } from "./moment-archive.ts";
import { MomentLog } from "./moment-log.ts";
import { type ScriptedTransaction, storeSegments } from "./testing/scripted-log.ts";

const TABLE = { schema: "app", name: "flex" };
const SCOPE = { kind: "direct" as const, column: "tenant_id" };
const OF_FLEX = {
  kind: "via" as const,
  path: [{ constraint: "fk", to: TABLE, columns: ["a"], referenced: ["id"] }],
  column: "tenant_id",
};

function relation(...columns: readonly (readonly [string, number, string?])[]): Relation {
  return {
    table: TABLE,
    scope: SCOPE,
    identity: "full",
    columns: columns.map(([name, attnum, missing = null]) => ({ name, type: "text", attnum, key: true, missing })),
  };
}

const FIRST = relation(["id", 1], ["tenant_id", 2], ["a", 3]);
const SECOND = relation(["id", 1], ["tenant_id", 2], ["a2", 3], ["c", 4, "given"]);

/** At 160 somebody else's change is the first under the second definition; from 100 on nobody had changed a row. */
const LOG: readonly ScriptedTransaction[] = [
  {
    ...{ lsn: 0x100n, xid: 11n, at: 1_000_100n },
    lines: [{ tenant: "a", relation: FIRST, op: "I", seq: 0, row: ["2", "a", "y"] }],
  },
  {
    ...{ lsn: 0x160n, xid: 12n, at: 1_000_160n },
    lines: [
      { tenant: null, relation: SECOND, op: "A", seq: 0, row: ["0000000000000100", "1000100"] },
      { tenant: "b", relation: SECOND, op: "I", seq: 1, row: ["9", "b", "z", "mine"] },
    ],
  },
];

async function open(limit: KnownLimit, base: string, tables: readonly string[] | null = null): Promise<BackupArchive> {
  const store = new MemoryStore();
  const places = await storeSegments(store, LOG);
  const log = await MomentLog.open(store, places, { tenantKey: "a", span: changeSpan(base, limit) });
  return await momentOf(backup(), log, { tables });
}

async function at(limit: KnownLimit, base = "10:10:"): Promise<{ columns: string; rows: string[] }> {
  const moment = await open(limit, base);
  const [table] = moment.manifest.tables;
  const pieces: Buffer[] = [];
  for await (const piece of moment.readTable(TABLE)) pieces.push(piece);
  return {
    columns: (table?.columns ?? []).map(({ name, attnum }) => `${name}:${attnum}`).join(" "),
    rows: Buffer.concat(pieces).toString().trimEnd().replaceAll("\t", " ").split("\n").toSorted(),
  };
}

function backup(): BackupArchive {
  const text = Buffer.from("1\ta\tx\n");
  const sum = new FingerprintSum();
  sum.addText(text);
  const table = (name: string, scope: ManifestTable["scope"]): ManifestTable => ({
    table: { schema: "app", name },
    scope,
    columns: FIRST.columns.map(({ name, type }, n) => ({ name, type, attnum: n + 1, notNull: false, identity: null })),
    key: ["id"],
    rawBytes: text.length,
    fingerprint: sum.result(),
    ranges: [],
  });
  const tables = [table("flex", SCOPE), table("calm", SCOPE), table("parts", OF_FLEX)];
  return {
    manifest: { ...testManifest(tables, []), tenantKey: "a" },
    manifestSha256: "0".repeat(64),
    readTable: async function* () {
      yield text;
    },
    verify: async () => {},
  };
}

const lsn = (position: bigint): KnownLimit => ({ kind: "lsn", lsn: position.toString(16).padStart(16, "0") });

test("a moment has the columns that the table had, also when none of the tenant's rows was changed since they came", async () => {
  const now = { columns: "id:1 tenant_id:2 a2:3 c:4", rows: ["1 a x given", "2 a y given"] };
  expect(await at(lsn(0x160n))).toEqual(now);
  expect(await at({ kind: "time", at: "1000160" })).toEqual(now);
  const then = { columns: "id:1 tenant_id:2 a:3", rows: ["1 a x", "2 a y"] };
  expect(await at(lsn(0x100n))).toEqual(then);
  expect(await at({ kind: "time", at: "1000100" })).toEqual(then);
});

test("a moment about which the columns changed is refused, and both its sides are named", async () => {
  for (const limit of [lsn(0x101n), lsn(0x15fn), { kind: "time", at: "1000130" } satisfies KnownLimit]) {
    await expect(at(limit)).rejects.toMatchObject({
      code: "moment_unreachable",
      message: expect.stringMatching(/1970-01-01T00:00:01\.000100Z and 1970-01-01T00:00:01\.000160Z/),
    });
  }
});

test("a base that shows the transaction has its columns already, whatever the moment", async () => {
  // Its rows would have them, too; here it is seen that nothing is refused.
  expect((await at(lsn(0x15fn), "13:13:")).columns).toBe("id:1 tenant_id:2 a:3");
});

test("a table that is not asked for refuses nothing, unless it tells whose rows of one that is are", async () => {
  const calm = await open(lsn(0x130n), "10:10:", ["app.calm"]);
  expect(calm.manifest.tables.map(({ table }) => table.name)).toEqual(["calm"]);
  for (const tables of [["app.flex"], ["app.calm", "app.flex"], ["app.parts"], ["app.later"], null])
    await expect(open(lsn(0x130n), "10:10:", tables), String(tables)).rejects.toMatchObject({
      code: "moment_unreachable",
    });
  const parts = await open(lsn(0x160n), "10:10:", ["app.parts"]);
  expect(parts.manifest.tables.map(({ table }) => table.name)).toEqual(["parts"]);
  await expect(parts.readTable(TABLE)[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "unknown_table" });
});
