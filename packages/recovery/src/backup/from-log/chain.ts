import type { ObjectStore } from "@rowback/storage";
import { type BackupArchive, openBackup } from "../../archive/backup-reader.ts";
import type { KeyRing } from "../../archive/key-ring.ts";
import type { Manifest } from "../../archive/manifest.ts";
import { partKey } from "../../archive/object-keys.ts";
import { PartReader } from "../../archive/part-reader.ts";
import { changeSpan } from "../../changes/moment/change-span.ts";
import { MomentLog, type SharedReading, sharedReading, type TableChanges } from "../../changes/moment/moment-log.ts";
import { RecoveryError } from "../../errors.ts";
import type { TableName } from "../../postgres/tenancy.ts";

/** One backup of a chain. */
export interface ChainLink {
  readonly backupId: string;
  /** Of its stored manifest, as its run recorded it; null: not known. */
  readonly manifestSha256: string | null;
}

export interface ChainRequest {
  readonly tenantId: string;
  readonly tenantKey: string;
  /** A full backup, and the incremental ones behind it, each made on the one before. */
  readonly links: readonly ChainLink[];
}

export interface ChainContext {
  readonly store: ObjectStore;
  readonly keys?: KeyRing | undefined;
  readonly signal: AbortSignal;
}

/** A chain that is whole: its full backup, and what the others carry. */
export interface OpenedChain {
  readonly base: BackupArchive;
  readonly changes: readonly TableChanges[];
  /** Its last link. */
  readonly last: BackupArchive;
  /** Shared by all that is read together. */
  readonly shared: SharedReading;
}

/**
 * Opens a full backup and those that were made on it, and reads every byte that the incremental ones carry.
 * @throws RecoveryError `chain_broken` naming the link that is missing, damaged, or not the one it was; `key_*`, `store_*`, `cancelled`
 */
export async function openChain(ctx: ChainContext, request: ChainRequest): Promise<OpenedChain> {
  const [first, ...others] = request.links;
  if (first === undefined) throw new RecoveryError("internal", "A chain without a link can't be opened");
  const whole = await openLink(ctx, request, first);
  if (whole.manifest.type !== "full") throw brokenChain(first.backupId, "is not a full one");
  let chain: OpenedChain = {
    base: proven(whole, first.backupId),
    changes: [],
    last: whole,
    shared: sharedReading(),
  };
  for (const link of others) {
    const archive = await openLink(ctx, request, link);
    chain = await linkTo(ctx, chain, archive).catch((error: unknown) => {
      throw asBroken(link.backupId, error);
    });
  }
  return chain;
}

/** The chain with one more backup on its end. @throws RecoveryError `chain_broken`, `archive_damaged`, `change_log_damaged`, StorageError */
export async function linkTo(ctx: ChainContext, chain: OpenedChain, archive: BackupArchive): Promise<OpenedChain> {
  const { manifest } = archive;
  requireMadeOn(manifest, chain);
  const { tenantId, backupId, tenantKey, writer, parts } = manifest;
  const reader = new PartReader(ctx.store, { tenantId, backupId }, writer, null);
  for (const part of parts) {
    for await (const _bytes of reader.read(part, [], ctx.signal)) {
      // The end of the part is what counts.
    }
  }
  const span = changeSpan(chain.last.manifest.snapshot.pgSnapshot, {
    kind: "snapshot",
    pgSnapshot: manifest.snapshot.pgSnapshot,
  });
  const places = parts.map(({ part, bytes }) => ({ key: partKey({ tenantId, backupId }, part, writer), bytes }));
  const { shared } = chain;
  const log = await MomentLog.open(ctx.store, places, { tenantKey, span, shared, signal: ctx.signal });
  return { ...chain, changes: [...chain.changes, log], last: archive };
}

function requireMadeOn(manifest: Manifest, { base, last }: OpenedChain): void {
  const isOn =
    manifest.parentBackupId === last.manifest.backupId &&
    manifest.baseBackupId === base.manifest.backupId &&
    manifest.changes?.parentManifestSha256 === last.manifestSha256;
  if (!isOn) throw brokenChain(last.manifest.backupId, `is not the one that ${manifest.backupId} was made on`);
}

async function openLink(ctx: ChainContext, request: ChainRequest, link: ChainLink): Promise<BackupArchive> {
  const { tenantId, tenantKey } = request;
  const { backupId, manifestSha256 } = link;
  const { store, keys, signal } = ctx;
  const archive = await openBackup(store, {
    tenantId,
    backupId,
    expectManifestSha256: manifestSha256,
    keys,
    signal,
  }).catch((error: unknown) => {
    throw asBroken(backupId, error);
  });
  if (archive.manifest.tenantKey !== tenantKey) throw brokenChain(backupId, "is of another tenant key");
  return archive;
}

/** A full backup whose damage breaks the chain that stands on it. */
function proven(archive: BackupArchive, backupId: string): BackupArchive {
  return {
    manifest: archive.manifest,
    manifestSha256: archive.manifestSha256,
    readTable: async function* (table: TableName, options) {
      try {
        yield* archive.readTable(table, options);
      } catch (error) {
        throw asBroken(backupId, error);
      }
    },
    verify: async (options) => {
      await archive.verify(options).catch((error: unknown) => {
        throw asBroken(backupId, error);
      });
    },
  };
}

const DAMAGED: readonly string[] = ["archive_damaged", "manifest_invalid", "change_log_damaged"];

function asBroken(backupId: string, error: unknown): unknown {
  if (!(error instanceof RecoveryError) || !DAMAGED.includes(error.code)) return error;
  return brokenChain(backupId, `can't be read any more: ${error.message}`, error);
}

/** @param how as an end of "Backup … " */
export function brokenChain(backupId: string, how: string, cause?: unknown): RecoveryError {
  return new RecoveryError("chain_broken", `Backup ${backupId}, which others stand on, ${how}`, {
    runId: backupId,
    hint: "Restore from another backup, and take a full backup for later ones to stand on.",
    cause,
  });
}
