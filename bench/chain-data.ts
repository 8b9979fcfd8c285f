import type { ObjectStore } from "@rowback/storage";
import { BackupWriter } from "../packages/recovery/src/archive/backup-writer.ts";
import { FingerprintSum, NO_ROWS } from "../packages/recovery/src/archive/fingerprint.ts";
import type { Manifest, ManifestTable } from "../packages/recovery/src/archive/manifest.ts";
import type { ChainLink } from "../packages/recovery/src/backup/from-log/chain.ts";
import type { Relation } from "../packages/recovery/src/changes/log/segment-index.ts";
import { SegmentWriter } from "../packages/recovery/src/changes/log/segment-writer.ts";

export const TENANT_KEY = "ours";
export const TENANT_ID = "11111111-1111-4111-8111-111111111111";
const ROWS = 200_000;
const NARROW_TABLES = 300;
const TRANSACTIONS = 50;
const CHANGES = 100;
const { signal } = new AbortController();

const BIG = relation("big", 3);
const NARROW = Array.from({ length: NARROW_TABLES }, (_, n) => relation(`narrow_${n}`, 30));
const NARROW_FIELDS = `\t${TENANT_KEY}${"\tx".repeat(28)}`;

/** A full backup and `length` incremental ones on it, each of which could be the last; `overlapping` as the bench says. */
export async function writeChain(
  store: ObjectStore,
  { length, overlapping }: { readonly length: number; readonly overlapping: boolean },
): Promise<ChainLink[]> {
  const rows = Array.from({ length: ROWS }, (_, id) => ({ text: rowText(id, 0), lsn: 0 }));
  const links = [await writeBase(store, rows)];
  // Each row that is added to a table has the number of its link.
  const added = new FingerprintSum();
  let addedBytes = 0;
  for (let link = 1; link <= length; link += 1) {
    const writer = new SegmentWriter({ sourceId: TENANT_ID, epoch: 0, piece: 0, continued: false });
    for (let n = 0; n < TRANSACTIONS; n += 1) {
      const place = link * 2 * TRANSACTIONS + n - (overlapping && n === 0 ? TRANSACTIONS + 2 : 0);
      const lsn = 4_096 + place * 2 + (n === 0 ? 1 : 0);
      const transaction = {
        lsn: lsn.toString(16).padStart(16, "0"),
        xid: `${10 + link * TRANSACTIONS + n}`,
        at: `${lsn}`,
      };
      for (let seq = 0; seq < CHANGES; seq += 1) {
        const row = rows[(link * 7_919 + n * 104_729 + seq * 1_299_709) % ROWS];
        if (row === undefined) throw new RangeError("no such row");
        const id = Number(row.text.slice(0, row.text.indexOf("\t")));
        const text = rowText(id, lsn);
        if (lsn >= row.lsn) Object.assign(row, { text, lsn });
        writer.add({ tenant: TENANT_KEY, relation: BIG, transaction, op: "U", seq, row: Buffer.from(text) });
      }
      if (n > 0) continue;
      const row = Buffer.from(`${link}${NARROW_FIELDS}`);
      added.addRow(row);
      addedBytes += row.length + 1;
      for (const [at, table] of NARROW.entries())
        writer.add({ tenant: TENANT_KEY, relation: table, transaction, op: "I", seq: CHANGES + at, row });
    }
    const parent = links.at(-1);
    if (parent === undefined) throw new RangeError("a link without a parent");
    const backup = openBackup(store, links.length);
    await backup.writePart((key) => writer.put(store, { continues: false, key, signal }));
    links.push(
      await finish(backup, links.length, link, {
        type: "incremental",
        parentBackupId: parent.backupId,
        baseBackupId: links[0]?.backupId ?? null,
        changes: { parentManifestSha256: parent.manifestSha256 ?? "", count: 1, rawBytes: 1 },
        tables: [
          describe(BIG, sumOf(rows)),
          ...NARROW.map((table) => describe(table, { rawBytes: addedBytes, fingerprint: added.result(), ranges: [] })),
        ],
      }),
    );
  }
  return links;
}

async function writeBase(store: ObjectStore, rows: readonly { readonly text: string }[]): Promise<ChainLink> {
  const backup = openBackup(store, 0);
  const lane = backup.openLane();
  lane.beginTable(() => {});
  for (let at = 0; at < rows.length; at += 1_000) {
    let taken = lane.take(copyData(rows.slice(at, at + 1_000)));
    while (taken === "busy") {
      await lane.ready();
      taken = lane.proceed();
    }
  }
  const { ranges, rawBytes, fingerprint } = await lane.endTable().written;
  await lane.finish();
  const tables = [
    describe(BIG, { rawBytes, fingerprint, ranges: [...ranges] }),
    ...NARROW.map((table) => describe(table, { rawBytes: 0, fingerprint: NO_ROWS, ranges: [] })),
  ];
  return await finish(backup, 0, 0, { type: "full", parentBackupId: null, baseBackupId: null, tables });
}

export function backupId(n: number): string {
  return `22222222-2222-4222-8222-${String(n).padStart(12, "0")}`;
}

function openBackup(store: ObjectStore, n: number): BackupWriter {
  return new BackupWriter(
    store,
    { tenantId: TENANT_ID, backupId: backupId(n) },
    { signal, mostBytes: null, key: null },
  );
}

async function finish(
  backup: BackupWriter,
  n: number,
  link: number,
  rest: Pick<Manifest, "type" | "parentBackupId" | "baseBackupId" | "tables" | "changes">,
): Promise<ChainLink> {
  const xmax = 10 + (link + 1) * TRANSACTIONS;
  const at = new Date().toISOString();
  const { sha256 } = await backup.writeManifest({
    ...{ format: "rowback", version: 1, backupId: backupId(n), tenantId: TENANT_ID, sourceId: TENANT_ID },
    ...{ tenantKey: TENANT_KEY, createdAt: at, snapshot: { pgSnapshot: `${xmax}:${xmax}:`, lsn: "0/1", at } },
    ...{ server: { version: "18.4", versionNumber: 180_004, encoding: "UTF8" }, session: {}, compression: "gzip" },
    ...{ encryption: null, sequences: [], schema: "", parts: [...backup.parts] },
    ...rest,
  });
  return { backupId: backupId(n), manifestSha256: sha256 };
}

function describe(
  { table, scope, columns }: Relation,
  figures: Pick<ManifestTable, "rawBytes" | "fingerprint" | "ranges">,
): ManifestTable {
  const described = columns.map(({ name, type }, at) => ({
    name,
    type,
    attnum: at + 1,
    notNull: false,
    identity: null,
  }));
  return { table, scope, columns: described, key: ["id"], ...figures };
}

function sumOf(rows: readonly { readonly text: string }[]): Pick<ManifestTable, "rawBytes" | "fingerprint" | "ranges"> {
  const sum = new FingerprintSum();
  let rawBytes = 0;
  for (const { text } of rows) {
    sum.addRow(Buffer.from(text));
    rawBytes += text.length + 1;
  }
  return { rawBytes, fingerprint: sum.result(), ranges: [] };
}

function rowText(id: number, version: number): string {
  return `${id}\t${TENANT_KEY}\t${version}${"x".repeat(100)}`;
}

/** Rows as the server sends them: one CopyData message each. */
function copyData(rows: readonly { readonly text: string }[]): Buffer {
  return Buffer.concat(
    rows.map(({ text }) => {
      const message = Buffer.alloc(5 + text.length + 1);
      message.write("d");
      message.writeUInt32BE(4 + text.length + 1, 1);
      message.write(`${text}\n`, 5, "latin1");
      return message;
    }),
  );
}

function relation(name: string, columns: number): Relation {
  return {
    table: { schema: "app", name },
    scope: { kind: "direct", column: "tenant_id" },
    identity: "key",
    columns: Array.from({ length: columns }, (_, at) => ({
      name: at === 0 ? "id" : at === 1 ? "tenant_id" : `a_column_of_some_length_${at}`,
      type: "text",
      attnum: at + 1,
      key: at < 2,
      missing: null,
    })),
  };
}
