import { getCaptureStatus, getTenant, listChain, type NewBackup, newestParent, type TenantClient } from "@rowback/db";
import type { BackupParams } from "@rowback/jobs";
import { RecoveryError } from "@rowback/recovery/errors";
import { z } from "zod";
import { readableBackup } from "./backup-state.ts";
import { discoveredTables } from "./known-tables.ts";
import { reachOfBase } from "./moments.ts";
import { notFound } from "./problem.ts";
import { optionalBody } from "./responses.ts";
import { selectTables, TableNames } from "./table-selection.ts";

/** What may be asked for, listed and filtered by. */
export const BACKUP_KINDS = ["full", "synthetic_full", "incremental"] as const;
export type BackupKind = (typeof BACKUP_KINDS)[number];

/** The body of a backup. */
export const CreateBackup = optionalBody(
  z
    .strictObject({
      tables: TableNames.nullable().default(null),
      type: z.enum(BACKUP_KINDS).default("full").meta({
        description:
          "full: all rows, read from the source. incremental: the changes since `parent`, from the change log. synthetic_full: all rows, from `parent` and the change log. The last two read no table of the source.",
      }),
      parent: z.uuid().optional().meta({
        description:
          "The backup that an incremental or a synthetic full one goes on from; the tenant's newest unless told.",
      }),
    })
    .refine(({ type, parent }) => type !== "full" || parent === undefined, {
      path: ["parent"],
      message: "is of an incremental or a synthetic full backup: a full one goes on from none",
    })
    .refine(({ type, tables }) => type === "full" || tables === null, {
      path: ["tables"],
      message: "can be chosen for a full backup only: the change log goes on from backups of all tables",
    }),
);
export type CreateBackup = z.infer<typeof CreateBackup>;

/** What a request comes down to: the run's parameters, and the row beside it. */
export interface ChosenBackup {
  readonly sourceId: string;
  readonly params: BackupParams;
  readonly backup: NewBackup;
}

/**
 * Reads a request for a backup against what there is.
 * @throws RecoveryError `unknown_table`, `not_found`; `conflict` (no backup to go on from, or not one for that), `chain_broken`,
 *   `moment_unreachable` where the log does not lead on from it
 */
export async function chosenBackup(
  client: TenantClient,
  { type, tables: names, parent }: CreateBackup,
): Promise<ChosenBackup> {
  if (type === "full") {
    const { sourceId, tables } = await chosenTables(client, names);
    return { sourceId, params: { tables, purpose: "manual" }, backup: { type: "full", purpose: "manual", tables } };
  }
  const { sourceId, parentBackupId, baseBackupId } = await chosenParent(client, parent);
  const common = { purpose: "manual", tables: null } as const;
  return {
    sourceId,
    params: { ...common, type, parentBackupId },
    backup:
      type === "incremental"
        ? { ...common, type, madeFrom: "log", parent: { parentBackupId, baseBackupId } }
        : { ...common, type: "full", madeFrom: "log" },
  };
}

/** The labels of the named tables (null: all), and the source they are in. */
async function chosenTables(
  client: TenantClient,
  names: readonly string[] | null,
): Promise<{ sourceId: string; tables: string[] | null }> {
  if (names !== null) {
    const { sourceId, tables } = await discoveredTables(client);
    return { sourceId, tables: selectTables(names, tables) };
  }
  const tenant = await getTenant(client, client.tenantId);
  if (tenant === null) throw notFound("tenant");
  return { sourceId: tenant.sourceId, tables: null };
}

async function chosenParent(
  client: TenantClient,
  named: string | undefined,
): Promise<{ sourceId: string; parentBackupId: string; baseBackupId: string }> {
  const { tenantId } = client;
  const tenant = await getTenant(client, tenantId);
  if (tenant === null) throw notFound("tenant");
  const { sourceId } = tenant;
  const parentBackupId = named ?? (await newestParent(client, { tenantId, sourceId }));
  if (parentBackupId === null) {
    throw new RecoveryError("conflict", "There is no backup of all tables to go on from.", {
      tenantId,
      hint: "Take a full backup first.",
    });
  }
  const parent = await readableBackup(client, parentBackupId);
  if (parent.tables !== null || parent.purpose === "pre_restore") {
    const why = parent.tables === null ? "was taken before a restore" : "holds some tables only";
    throw new RecoveryError("conflict", `Backup ${parent.id} ${why}, so the change log does not go on from it.`, {
      tenantId,
      runId: parent.id,
      hint: "Leave `parent` out, or name a backup of all tables.",
    });
  }
  await requireCaptured(client, sourceId);
  const chain = await listChain(client, parent.id);
  const [base] = chain;
  const lost = chain.find(({ deletedAt, status }) => deletedAt !== null || status !== "succeeded");
  if (base === undefined || lost !== undefined) {
    throw new RecoveryError("chain_broken", `Backup ${lost?.id ?? parent.id}, which others stand on, is not there.`, {
      tenantId,
      runId: parent.id,
      hint: "Undelete it, or take a full backup.",
    });
  }
  await requireLogBehind(client, base.id);
  return { sourceId, parentBackupId: parent.id, baseBackupId: base.id };
}

async function requireCaptured(client: TenantClient, sourceId: string): Promise<void> {
  if ((await getCaptureStatus(client, sourceId))?.status === "on") return;
  throw new RecoveryError("moment_unreachable", "The source's changes are not captured.", {
    tenantId: client.tenantId,
    sourceId,
    hint: "Take a full backup, or have an operator begin the capture (POST /v1/sources/:id/capture).",
  });
}

/** What happens from now on, its run finds out. */
async function requireLogBehind(client: TenantClient, baseBackupId: string): Promise<void> {
  const reach = await reachOfBase(client, baseBackupId);
  if (reach !== null && reach.epoch !== null && reach.gap === null) return;
  const gap = reach?.gap ?? null;
  const why =
    gap === null
      ? "it was taken before the log began"
      : `there is a gap since (${gap.reason}${gap.table === null ? "" : `, ${gap.table}`})`;
  throw new RecoveryError(
    "moment_unreachable",
    `The change log does not lead on from backup ${baseBackupId}: ${why}.`,
    {
      tenantId: client.tenantId,
      runId: baseBackupId,
      hint: "Take a full backup.",
    },
  );
}
