import { openBackup } from "../../../archive/backup-reader.ts";
import { BackupWriter } from "../../../archive/backup-writer.ts";
import { FingerprintSum } from "../../../archive/fingerprint.ts";
import type { Manifest, ManifestTable } from "../../../archive/manifest.ts";
import type { MemoryStore } from "../../../archive/testing/memory-store.ts";
import { copyMessages, feed, testManifest } from "../../../archive/testing/written-backup.ts";
import { changeSpan } from "../../../changes/moment/change-span.ts";
import { MomentLog, type SegmentPlace } from "../../../changes/moment/moment-log.ts";
import { KEYS, type RandomHistory, RELATIONS } from "../../../changes/moment/testing/random-history.ts";
import { type ChainLink, openChain } from "../chain.ts";
import { writeChanges } from "../write-changes.ts";

export const TENANT_ID = "11111111-1111-4111-8111-111111111111";
export const TENANT = "a";

type State = RandomHistory["states"][number];

const { signal } = new AbortController();

export function backupId(n: number): string {
  return `22222222-2222-4222-8222-${String(n).padStart(12, "0")}`;
}

/** A full backup of a state. */
export async function writeBase(store: MemoryStore, state: State): Promise<ChainLink> {
  const id = { tenantId: TENANT_ID, backupId: backupId(0) };
  const backup = new BackupWriter(store, id, { signal, mostBytes: null, key: null });
  const lane = backup.openLane();
  const tables: ManifestTable[] = [];
  for (const relation of RELATIONS) {
    lane.beginTable(() => undefined);
    await feed(
      lane,
      copyMessages(linesOf(state, relation.table.name).map((line) => Buffer.from(line, "latin1"))),
      [4_096],
    );
    const { ranges, ...figures } = await lane.endTable().written;
    tables.push({ ...describe(relation), ...figures, ranges: [...ranges] });
  }
  await lane.finish();
  return await finish(backup, { ...headOf(id.backupId, state.pgSnapshot), tables, parts: [...backup.parts] });
}

/** An incremental backup on these links, whose snapshot is `pgSnapshot` and whose rows are the state's. */
export async function writeLink(
  store: MemoryStore,
  links: readonly ChainLink[],
  wish: {
    readonly segments: readonly SegmentPlace[];
    readonly pgSnapshot: string;
    readonly state: State;
    readonly partBytes?: number;
  },
): Promise<ChainLink> {
  const chain = await openChain({ store, signal }, { tenantId: TENANT_ID, tenantKey: TENANT, links });
  const since = chain.last.manifest.snapshot.pgSnapshot;
  const span = changeSpan(since, { kind: "snapshot", pgSnapshot: wish.pgSnapshot });
  const log = await MomentLog.open(store, wish.segments, { tenantKey: TENANT, span });
  const id = { tenantId: TENANT_ID, backupId: backupId(links.length) };
  const backup = new BackupWriter(store, id, { signal, mostBytes: null, key: null });
  const head = headOf(id.backupId, wish.pgSnapshot);
  const { sourceId } = head;
  const { partBytes } = wish;
  const written = await writeChanges(backup, log, { store, sourceId, tenantKey: TENANT, signal, partBytes });
  return await finish(backup, {
    ...head,
    type: "incremental",
    parentBackupId: chain.last.manifest.backupId,
    baseBackupId: chain.base.manifest.backupId,
    changes: { parentManifestSha256: chain.last.manifestSha256, ...written },
    tables: RELATIONS.map((relation) => {
      const sum = new FingerprintSum();
      const text = Buffer.from(linesOf(wish.state, relation.table.name).join("\n").concat("\n"), "latin1");
      if (text.length > 1) sum.addText(text);
      return {
        ...describe(relation),
        rawBytes: text.length > 1 ? text.length : 0,
        fingerprint: sum.result(),
        ranges: [],
      };
    }),
    parts: [...backup.parts],
  });
}

/** The tenant's rows of a table as COPY text without newlines. */
export function linesOf(state: State, table: string): string[] {
  return (state.rows[TENANT]?.[table] ?? []).map((row) => row.join("\t"));
}

export async function manifestOf(store: MemoryStore, { backupId: id }: ChainLink): Promise<Manifest> {
  return (await openBackup(store, { tenantId: TENANT_ID, backupId: id })).manifest;
}

function describe({
  table,
  scope,
  columns,
}: (typeof RELATIONS)[number]): Pick<ManifestTable, "table" | "scope" | "columns" | "key"> {
  return {
    table,
    scope,
    columns: columns.map(({ name, type }, at) => ({ name, type, attnum: at + 1, notNull: false, identity: null })),
    key: KEYS[table.name] ?? null,
  };
}

function headOf(id: string, pgSnapshot: string): Manifest {
  const manifest = testManifest([], []);
  return {
    ...manifest,
    tenantId: TENANT_ID,
    backupId: id,
    tenantKey: TENANT,
    snapshot: { ...manifest.snapshot, pgSnapshot },
  };
}

async function finish(backup: BackupWriter, manifest: Manifest): Promise<ChainLink> {
  const { sha256 } = await backup.writeManifest(manifest);
  return { backupId: manifest.backupId, manifestSha256: sha256 };
}
