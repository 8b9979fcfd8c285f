import { type BackupArchive, openBackup } from "../../archive/backup-reader.ts";
import { RecoveryError } from "../../errors.ts";
import { toRecoveryError } from "../../postgres/source-error.ts";
import type { VerbContext } from "../../verb-context.ts";
import { changeSpan, type KnownLimit, type MomentLimit } from "./change-span.ts";
import { momentOf } from "./moment-archive.ts";
import { MomentLog, type SegmentPlace } from "./moment-log.ts";
import { parsePgSnapshot } from "./pg-snapshot.ts";

export interface MomentRequest {
  readonly tenantId: string;
  readonly tenantKey: string;
  /** The base: a full backup. */
  readonly backupId: string;
  readonly manifestSha256: string | null;
  readonly limit: MomentLimit;
  /** The log's segments that may hold something of the tenant, from this transaction on, in commit order; called once. */
  readonly segments: (fromXid: bigint) => AsyncIterable<SegmentPlace> | Iterable<SegmentPlace>;
  /** See MomentOptions. */
  readonly tables?: readonly string[] | null | undefined;
  readonly mostHeldBytes?: number | undefined;
}

/** What opening a moment needs of a verb's context. */
export type MomentContext = Pick<VerbContext, "store" | "keys" | "signal">;

/** A base, and the log behind it up to a moment. */
export interface OpenedMoment {
  readonly base: BackupArchive;
  readonly log: MomentLog;
}

/**
 * The tenant at a moment, as an archive to restore from.
 * @throws RecoveryError `not_found` (a transaction that changed nothing of the tenant), `moment_unreachable`, `change_log_damaged`, `schema_drift`,
 *   `archive_damaged`, `manifest_*`, `key_*`, `store_*`, `cancelled`
 */
export async function openMoment(ctx: MomentContext, request: MomentRequest): Promise<BackupArchive> {
  const { base, log } = await openMomentLog(ctx, request);
  const { tables, mostHeldBytes } = request;
  return await momentOf(base, log, { tables, mostHeldBytes, signal: ctx.signal });
}

/** Opens the base and reads the indexes of the log. @throws as `openMoment` */
export async function openMomentLog(ctx: MomentContext, request: MomentRequest): Promise<OpenedMoment> {
  const { tenantId, tenantKey, backupId, manifestSha256, limit } = request;
  const { store, keys, signal } = ctx;
  const base = await openBackup(store, { tenantId, backupId, expectManifestSha256: manifestSha256, keys, signal });
  if (base.manifest.tenantKey !== tenantKey) {
    throw new RecoveryError("invalid_request", "The base is of another tenant key.", { tenantId });
  }
  const { pgSnapshot } = base.manifest.snapshot;
  try {
    const { xmin } = parsePgSnapshot(pgSnapshot);
    const known = limit.kind === "before" ? EVERYTHING : limit;
    const span = changeSpan(pgSnapshot, known);
    const log = await MomentLog.open(store, request.segments(xmin), { tenantKey, span, signal });
    if (limit.kind !== "before") return { base, log };
    return { base, log: log.within(changeSpan(pgSnapshot, await before(log, BigInt(limit.xid)))) };
  } catch (error) {
    throw toRecoveryError(error, { tenantId, signal });
  }
}

const EVERYTHING: KnownLimit = { kind: "lsn", lsn: "f".repeat(16) };

async function before(log: MomentLog, xid: bigint): Promise<KnownLimit> {
  const transaction = await log.findTransaction(xid);
  if (transaction === null) {
    throw new RecoveryError(
      "not_found",
      `Transaction ${xid} changed nothing of the tenant that the change log knows of`,
      {
        hint: "Take the transaction's id from GET /v1/history, or give a time.",
      },
    );
  }
  return { kind: "lsn", lsn: (transaction.lsn - 1n).toString(16).padStart(16, "0") };
}
