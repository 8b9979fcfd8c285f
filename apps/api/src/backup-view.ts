import { BACKUP_ORIGINS, BACKUP_PURPOSES, type Backup, RUN_STATES } from "@rowback/db";
import { z } from "zod";
import { BACKUP_KINDS, type BackupKind } from "./backup-request.ts";
import { isoOrNull, RunErrorView } from "./run-view.ts";

const Count = z.int().nonnegative();

/** A backup as clients see it; its id is its run's. What came of it is null until it has succeeded. */
export const BackupView = z
  .object({
    id: z.uuid(),
    tenantId: z.uuid(),
    sourceId: z.uuid(),
    status: z.enum(RUN_STATES),
    type: z.enum(BACKUP_KINDS),
    madeFrom: z.enum(BACKUP_ORIGINS).meta({
      description: "`log`: folded from an earlier backup and the change log; the source was not asked for its rows.",
    }),
    purpose: z.enum(BACKUP_PURPOSES),
    parentBackupId: z.uuid().nullable().meta({ description: "The backup that an incremental one was made on." }),
    baseBackupId: z.uuid().nullable().meta({ description: "The full backup below an incremental one." }),
    requestedTables: z.array(z.string()).nullable().meta({ description: "Null: every protected table." }),
    tables: z
      .array(z.object({ table: z.string(), rows: Count, rawBytes: Count, fingerprint: z.unknown() }))
      .nullable()
      .meta({ description: "What is in it; the fingerprint is the order-independent one of docs/FORMAT.md." }),
    warnings: z.array(z.string()).meta({
      description: "What it may lack all the same: tables taken for nobody's, sequences the role may not read.",
    }),
    rowCount: Count.nullable(),
    rawBytes: Count.nullable(),
    storedBytes: Count.nullable(),
    objectCount: Count.nullable(),
    manifestSha256: z.string().nullable(),
    snapshotAt: z.iso
      .datetime()
      .nullable()
      .meta({ description: "The moment whose rows it holds, by the source's clock." }),
    serverVersion: z.string().nullable(),
    encrypted: z
      .boolean()
      .nullable()
      .meta({ description: "Whether it is sealed with the tenant's data key; null until it has succeeded." }),
    progress: z.unknown(),
    error: RunErrorView.nullable(),
    requestedBy: z.string(),
    createdAt: z.iso.datetime(),
    startedAt: z.iso.datetime().nullable(),
    finishedAt: z.iso.datetime().nullable(),
    deletedAt: z.iso.datetime().nullable(),
    purgedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: "Backup" });
export type BackupView = z.infer<typeof BackupView>;

/** A backup with what it stands on. */
export const BackupDetail = BackupView.extend({
  chain: z
    .array(
      z.object({
        id: z.uuid(),
        type: z.enum(BACKUP_KINDS),
        snapshotAt: z.iso.datetime().nullable(),
        storedBytes: Count.nullable(),
        deletedAt: z.iso.datetime().nullable(),
      }),
    )
    .meta({ description: "From the full backup to this one; restoring it reads them all." }),
}).meta({ id: "BackupDetail" });
export type BackupDetail = z.infer<typeof BackupDetail>;

export function toBackupDetail(backup: Backup, chain: readonly Backup[]): BackupDetail {
  return {
    ...toBackupView(backup),
    chain: chain.map((link) => ({
      id: link.id,
      type: kindOf(link),
      snapshotAt: isoOrNull(link.snapshotAt),
      storedBytes: link.storedBytes,
      deletedAt: isoOrNull(link.deletedAt),
    })),
  };
}

function kindOf({ type, madeFrom }: Backup): BackupKind {
  return type === "full" && madeFrom === "log" ? "synthetic_full" : type;
}

export function toBackupView(backup: Backup): BackupView {
  return {
    id: backup.id,
    tenantId: backup.tenantId,
    sourceId: backup.sourceId,
    status: backup.status,
    type: kindOf(backup),
    madeFrom: backup.madeFrom,
    purpose: backup.purpose,
    parentBackupId: backup.parentBackupId,
    baseBackupId: backup.baseBackupId,
    requestedTables: backup.tables,
    tables: backup.tableStats,
    warnings: backup.warnings,
    rowCount: backup.rowCount,
    rawBytes: backup.rawBytes,
    storedBytes: backup.storedBytes,
    objectCount: backup.objectCount,
    manifestSha256: backup.manifestSha256,
    snapshotAt: isoOrNull(backup.snapshotAt),
    serverVersion: backup.serverVersion,
    encrypted: backup.status === "succeeded" ? backup.keyId !== null : null,
    progress: backup.progress,
    error: backup.error,
    requestedBy: backup.requestedBy,
    createdAt: backup.createdAt.toISOString(),
    startedAt: isoOrNull(backup.startedAt),
    finishedAt: isoOrNull(backup.finishedAt),
    deletedAt: isoOrNull(backup.deletedAt),
    purgedAt: isoOrNull(backup.purgedAt),
  };
}
