import type { BackupArchive } from "../../archive/backup-reader.ts";
import { BackupWriter } from "../../archive/backup-writer.ts";
import { FORMAT_VERSION, type Manifest, type ManifestChanges, type ManifestTable } from "../../archive/manifest.ts";
import { changeSpan } from "../../changes/moment/change-span.ts";
import { joinChanges } from "../../changes/moment/joined-changes.ts";
import { momentOf } from "../../changes/moment/moment-archive.ts";
import { MomentLog, type SegmentPlace } from "../../changes/moment/moment-log.ts";
import { parsePgSnapshot } from "../../changes/moment/pg-snapshot.ts";
import { lsnDigits } from "../../postgres/lsn.ts";
import { SESSION_SETTINGS } from "../../postgres/source.ts";
import { toRecoveryError } from "../../postgres/source-error.ts";
import { tableLabel } from "../../postgres/tenancy.ts";
import type { VerbContext } from "../../verb-context.ts";
import { type BackupOutcome, outcomeOf } from "../outcome.ts";
import { type BackupRequest, tenantNotInSource } from "../run.ts";
import { type ChainLink, type OpenedChain, openChain } from "./chain.ts";
import { lookAtSource, type SourceLook } from "./look-at-source.ts";
import { requireSameTables, tablesNow } from "./tables-now.ts";
import { writeChanges } from "./write-changes.ts";
import { writeWhole } from "./write-whole.ts";

export interface LogBackupRequest
  extends Pick<
    BackupRequest,
    "backupId" | "tenantId" | "tenantKey" | "catalogCache" | "maxStoredBytes" | "compression"
  > {
  /** `incremental`: keeps the changes since the last link. `synthetic_full`: keeps all rows, and stands on nothing. */
  readonly type: "incremental" | "synthetic_full";
  /** A full backup, the incremental ones behind it, and the one to go on from. */
  readonly links: readonly ChainLink[];
  /** The publication of the source's capture. */
  readonly publicationName: string;
  /**
   * Resolves when the log is certain to hold every transaction whose commit stands below this position (16 hexadecimal digits); throws
   * where it never will, or not for long.
   */
  readonly caughtUp: (lsn: string) => Promise<void>;
  /** The log's segments that may hold something of the tenant, from this transaction on and up to this position, in commit order. */
  readonly segments: (fromXid: bigint, untilLsn: string) => AsyncIterable<SegmentPlace> | Iterable<SegmentPlace>;
  /** Of an incremental one, see PART_BYTES. */
  readonly partBytes?: number | undefined;
}

/**
 * Backs a tenant up from an earlier backup and the change log: no row is read from the source. What is sealed is what a full backup in the
 * same snapshot would hold; it is folded once before anything is recorded, so that what can't be restored is never taken for a backup.
 *
 * @throws RecoveryError `chain_broken`, `change_log_damaged`, `schema_drift`, `tenant_not_in_source`, `table_unprotected`, what `caughtUp`
 *   throws, `quota_exceeded`, `source_*`, `key_*`, `store_*`, `cancelled`
 */
export async function backUpFromLog(ctx: VerbContext, request: LogBackupRequest): Promise<BackupOutcome> {
  const { tenantId, backupId, maxStoredBytes: mostBytes = null, type } = request;
  const { store, signal } = ctx;
  // Changes are stored as the change log stores them, whatever rows are compressed with.
  const compression = type === "incremental" ? "gzip" : request.compression;
  const backup = new BackupWriter(store, request, { signal, mostBytes, key: null, compression });
  try {
    const chain = await openChain(ctx, request);
    const look = await lookAtSource(ctx, request);
    report(ctx, "waiting for the log", 0);
    await request.caughtUp(lsnDigits(look.info.endLsn));
    report(ctx, "folding", 0.1);
    const { moment, log } = await fold(ctx, request, chain, look);
    requireSameTables(chain.base.manifest, moment.manifest, look.plan);
    requireTenant(moment.manifest, look);
    const stored =
      type === "incremental"
        ? await storeChanges(ctx, request, { backup, chain, moment, log, look })
        : await storeRows(ctx, { backup, moment, look });
    const manifest: Manifest = {
      ...commonManifest(ctx, request, look),
      ...stored,
      compression: backup.compression,
      parts: [...backup.parts],
    };
    return outcomeOf(manifest, look, await backup.writeManifest(manifest));
  } catch (error) {
    await backup.abort(error);
    throw toRecoveryError(error, { tenantId, runId: backupId, signal });
  }
}

/** The tenant's rows in the snapshot, and its changes since the last link. */
async function fold(
  { store, signal }: VerbContext,
  { tenantKey, segments }: LogBackupRequest,
  { base, changes, last, shared }: OpenedChain,
  { info }: SourceLook,
): Promise<{ readonly moment: BackupArchive; readonly log: MomentLog }> {
  const since = last.manifest.snapshot.pgSnapshot;
  const span = changeSpan(since, { kind: "snapshot", pgSnapshot: info.pgSnapshot });
  const places = segments(parsePgSnapshot(since).xmin, lsnDigits(info.endLsn));
  const log = await MomentLog.open(store, places, { tenantKey, span, shared, signal });
  return { moment: await momentOf(base, joinChanges([...changes, log]), { signal }), log };
}

interface Sealing {
  readonly backup: BackupWriter;
  readonly chain: OpenedChain;
  readonly moment: BackupArchive;
  readonly log: MomentLog;
  readonly look: SourceLook;
}

type Stored = Pick<Manifest, "type" | "parentBackupId" | "baseBackupId" | "tables" | "changes">;

async function storeChanges(
  ctx: VerbContext,
  { tenantKey, partBytes }: LogBackupRequest,
  { backup, chain, moment, log, look }: Sealing,
): Promise<Stored> {
  report(ctx, "storing", 0.8);
  const { store, source, signal } = ctx;
  const written = await writeChanges(backup, log, { store, sourceId: source.id, tenantKey, signal, partBytes });
  const { base, last } = chain;
  const changes: ManifestChanges = { parentManifestSha256: last.manifestSha256, ...written };
  return {
    type: "incremental",
    parentBackupId: last.manifest.backupId,
    baseBackupId: base.manifest.backupId,
    tables: tablesNow(moment.manifest, look.plan),
    changes,
  };
}

async function storeRows(
  ctx: VerbContext,
  { backup, moment, look }: Pick<Sealing, "backup" | "moment" | "look">,
): Promise<Stored> {
  const tables = await writeWhole(backup, moment, look, {
    signal: ctx.signal,
    onShare: (share) => report(ctx, "storing", 0.5 + share / 2),
  });
  return { type: "full", parentBackupId: null, baseBackupId: null, tables };
}

/** As a full backup does: a tenant that is not there any more is not backed up as nothing. */
function requireTenant({ tables }: Manifest, { plan: { tenantTable } }: SourceLook): void {
  if (tenantTable === null) return;
  const root: ManifestTable | undefined = tables.find(({ table }) => tableLabel(table) === tableLabel(tenantTable));
  if ((root?.fingerprint.rows ?? 0) === 0) throw tenantNotInSource();
}

function commonManifest(
  { source, clock }: VerbContext,
  { backupId, tenantId, tenantKey }: LogBackupRequest,
  { info, sequences, schema }: SourceLook,
): Omit<Manifest, keyof Stored | "compression" | "parts"> {
  return {
    format: "rowback",
    version: FORMAT_VERSION,
    backupId,
    tenantId,
    sourceId: source.id,
    tenantKey,
    createdAt: clock.now().toISOString(),
    snapshot: { pgSnapshot: info.pgSnapshot, lsn: info.lsn, at: info.at.toISOString() },
    server: { version: info.serverVersion, versionNumber: info.serverVersionNumber, encoding: info.encoding },
    session: SESSION_SETTINGS,
    encryption: null,
    sequences: [...sequences],
    schema,
  };
}

function report({ onProgress }: VerbContext, phase: string, share: number): void {
  onProgress?.({ phase, share, tables: [] });
}
