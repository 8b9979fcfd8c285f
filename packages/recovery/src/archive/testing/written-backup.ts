import { BackupWriter } from "../backup-writer.ts";
import type { Compression } from "../block.ts";
import type { LaneWriter } from "../lane-writer.ts";
import type { Manifest, ManifestTable } from "../manifest.ts";
import { type BackupId, backupPrefix } from "../object-keys.ts";
import type { SealKey } from "../sealed-block.ts";
import type { MemoryStore } from "./memory-store.ts";

export const BACKUP: BackupId = {
  tenantId: "11111111-1111-4111-8111-111111111111",
  backupId: "22222222-2222-4222-8222-222222222222",
};

export function tableNamed(name: string): ManifestTable["table"] {
  return { schema: "app", name };
}

/** The keys of a backup's parts, in the order of their numbers; of one attempt, where several wrote it. */
export function partKeysOf(store: MemoryStore, id: BackupId = BACKUP, writer = ""): string[] {
  const number = (key: string): number => Number(/part-(\d+)/.exec(key)?.[1]);
  return [...store.objects.keys()]
    .filter((key) => key.startsWith(`${backupPrefix(id)}part-`) && key.endsWith(writer))
    .toSorted((a, b) => number(a) - number(b));
}

/** Rows as the server sends them: one CopyData message each. */
export function copyMessages(rows: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    rows.flatMap((row) => {
      const header = Buffer.alloc(5);
      header.write("d");
      header.writeUInt32BE(4 + row.length + 1, 1);
      return [header, row, Buffer.from("\n")];
    }),
  );
}

/** Gives messages to a lane in chunks of these sizes, over and over, as `copyOut` does. */
export async function feed(lane: LaneWriter, messages: Buffer, chunkSizes: readonly number[]): Promise<void> {
  for (let at = 0, turn = 0; at < messages.length; turn += 1) {
    const size = chunkSizes[turn % chunkSizes.length] ?? 65_536;
    let taken = lane.take(messages.subarray(at, at + size));
    while (taken === "busy") {
      await lane.ready();
      taken = lane.proceed();
    }
    if (taken !== "all") throw new Error("the lane met something else than CopyData");
    at += size;
  }
}

interface TestBackupOptions {
  readonly key?: SealKey | null;
  readonly id?: BackupId;
  readonly compression?: Compression;
}

/** A whole backup of these tables, each with its rows (COPY text without newline), written by the code that writes real ones. */
export async function writeTestBackup(
  store: MemoryStore,
  tables: Readonly<Record<string, readonly Uint8Array[]>>,
  chunkSizes: readonly number[] = [65_536],
  { key = null, id = BACKUP, compression = "gzip" }: TestBackupOptions = {},
): Promise<Manifest> {
  const backup = new BackupWriter(store, id, {
    signal: new AbortController().signal,
    mostBytes: null,
    key,
    compression,
  });
  const lane = backup.openLane();
  const entries: ManifestTable[] = [];
  for (const [name, rows] of Object.entries(tables)) {
    lane.beginTable(() => undefined);
    await feed(lane, copyMessages(rows), chunkSizes);
    const { rawBytes, fingerprint, ranges } = await lane.endTable().written;
    entries.push({
      table: tableNamed(name),
      scope: { kind: "direct", column: "tenant_id" },
      columns: [{ name: "line", type: "text", notNull: true, identity: null }],
      key: null,
      rawBytes,
      fingerprint,
      ranges: [...ranges],
    });
  }
  await lane.finish();
  const manifest = { ...testManifest(entries, [...backup.parts]), ...id, compression, encryption: backup.encryption };
  await backup.writeManifest(manifest);
  return { ...manifest, writer: backup.writer };
}

export function testManifest(tables: Manifest["tables"], parts: Manifest["parts"]): Manifest {
  return {
    format: "rowback",
    version: 1,
    ...BACKUP,
    sourceId: "33333333-3333-4333-8333-333333333333",
    tenantKey: "acme",
    type: "full",
    parentBackupId: null,
    baseBackupId: null,
    createdAt: "2024-02-29T12:00:00.000Z",
    snapshot: { pgSnapshot: "10:10:", lsn: "0/16B3748", at: "2024-02-29T12:00:00.000Z" },
    server: { version: "18.4", versionNumber: 180_004, encoding: "UTF8" },
    session: { DateStyle: "ISO, YMD" },
    compression: "gzip",
    encryption: null,
    tables,
    parts,
    sequences: [],
    schema: "CREATE TABLE app.t (line text NOT NULL);",
  };
}
