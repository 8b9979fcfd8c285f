import { type Backup, type ControlDatabase, getRestore, getSource, type Restore, type TenantClient } from "@rowback/db";
import type { RestorePreviewParams, RunMoment } from "@rowback/jobs";
import { RecoveryError } from "@rowback/recovery/errors";
import { MomentTarget, namedTables } from "@rowback/recovery/plans";
import { z } from "zod";
import type { TenantCaller } from "./auth/caller.ts";
import { readableBackup } from "./backup-state.ts";
import { tablesOfBackup } from "./known-tables.ts";
import { chooseMoment, newestBase } from "./moments.ts";
import { plainText } from "./plain-text.ts";
import { notFound } from "./problem.ts";
import { optionalBody } from "./responses.ts";
import { type KnownTable, selectTables, TableNames } from "./table-selection.ts";

const ChosenKeys = z.strictObject({
  table: plainText(130),
  keys: z
    .array(z.array(plainText(10_000)).min(1).max(32))
    .min(1)
    .max(10_000)
    .meta({ description: "Rows by the values of their key's columns, in the key's order, as text." }),
});

const PreviewFields = z.strictObject({
  backupId: z.uuid().optional().meta({ description: "The backup to bring back; or give `target`." }),
  target: MomentTarget.optional().meta({
    description:
      "A moment to bring back: a time, a WAL position, just before a transaction, or a restore point. The base is chosen.",
  }),
  mode: z.enum(["exact", "missing_only"]).default("exact").meta({
    description: "exact: the tables as they were. missing_only: bring back deleted rows, keep newer ones.",
  }),
  tables: TableNames.nullable().default(null),
  keys: z.array(ChosenKeys).min(1).max(50).nullable().default(null),
  triggers: z.enum(["suppress", "fire"]).default("suppress"),
  targetSourceId: z
    .uuid()
    .nullable()
    .default(null)
    .meta({ description: "Another source to restore into; for operators." }),
});
/** The body of a preview. */
export const PreviewRestore = PreviewFields.refine(
  ({ backupId, target }) => (backupId === undefined) !== (target === undefined),
  "must have either backupId or target",
);
export type PreviewRestore = z.infer<typeof PreviewRestore>;

/** The body of a restore. */
export const ApplyRestore = z.strictObject({
  previewId: z.uuid(),
  planDigest: plainText(200).meta({ description: "The digest that the preview showed: proof of what was agreed to." }),
});

/** The body of an undo. */
export const UndoRestore = optionalBody(
  z.strictObject({
    discardNewerChanges: z.boolean().default(false).meta({
      description: "true: lose what was written to the restored tables since; false: refuse with plan_stale.",
    }),
  }),
);

/**
 * Another source than the tenant's own may hold other customers: only an operator may send a tenant's rows there,
 * and nobody else learns which sources exist.
 */
export async function checkTarget(
  db: ControlDatabase,
  caller: TenantCaller,
  targetSourceId: string | null,
): Promise<void> {
  if (targetSourceId === null) return;
  if (!caller.isOperator) {
    throw new RecoveryError("forbidden", "Only an operator may restore into another source.", {
      hint: "Leave targetSourceId out, or ask an operator.",
    });
  }
  if ((await getSource(db.system, targetSourceId)) === null) throw notFound("source");
}

/** The backup or the moment that is asked for, and the chosen rows by its own names. The base of a moment is chosen by what is to come back. */
export async function chosenTarget(
  client: TenantClient,
  wish: PreviewRestore,
): Promise<{
  readonly backup: Backup;
  readonly rows: Pick<RestorePreviewParams, "tables" | "keys">;
  readonly moment: RunMoment | null;
}> {
  const { backupId, target } = wish;
  if (target === undefined) {
    const backup = await readableBackup(client, backupId ?? "");
    return { backup, rows: chosenRows(wish, tablesOfBackup(backup)), moment: null };
  }
  const labels = await chosenLabels(client, wish);
  const { backupId: base, moment } = await chooseMoment(client, target, labels, new Date());
  const backup = await readableBackup(client, base);
  return { backup, rows: chosenRows(wish, tablesOfBackup(backup)), moment };
}

/** The tables that a moment is asked of, by the newest base's names; null: all, or there is no base to know them by. */
export async function chosenLabels(
  client: TenantClient,
  wish: Pick<PreviewRestore, "tables" | "keys">,
): Promise<string[] | null> {
  if (namedTables(wish) === null) return null;
  const newest = await newestBase(client);
  return newest === null ? null : namedTables(chosenRows(wish, tablesOfBackup(await readableBackup(client, newest))));
}

/** The chosen tables and keys by the backup's own names. */
function chosenRows(
  { tables, keys }: Pick<PreviewRestore, "tables" | "keys">,
  known: readonly KnownTable[],
): Pick<RestorePreviewParams, "tables" | "keys"> {
  const keyed =
    keys === null
      ? []
      : selectTables(
          keys.map(({ table }) => table),
          known,
          "keys",
        );
  return {
    tables: tables === null ? null : selectTables(tables, known),
    keys: keys?.map(({ keys: rows }, index) => ({ table: keyed[index] ?? "", keys: rows })) ?? null,
  };
}

/** Chosen keys are customers' data, and may be many: the audit log counts on the run's row for them. */
export function withoutKeys<T extends { keys: unknown }>({ keys: _keys, ...rest }: T): Omit<T, "keys"> {
  return rest;
}

/** The preview, if it is the tenant's, succeeded, and showed this plan. */
export async function agreedPreview(client: TenantClient, previewId: string, planDigest: string): Promise<Restore> {
  const preview = await getRestore(client, previewId);
  if (preview === null || preview.kind !== "restore_preview") throw notFound("preview");
  const context = { runId: preview.id, tenantId: preview.tenantId };
  if (preview.status !== "succeeded") {
    throw new RecoveryError("conflict", `The preview has not succeeded; it is ${preview.status}.`, {
      hint: "Wait for the preview's end, or make a new one.",
      ...context,
    });
  }
  if (preview.planDigest !== planDigest) {
    throw new RecoveryError("plan_stale", "The preview showed another plan than the one agreed to.", {
      hint: "Look at the preview again, and quote its planDigest.",
      ...context,
    });
  }
  return preview;
}

/** The restore, if it can be undone, and the backup to undo it from. */
export async function undoableRestore(
  client: TenantClient,
  id: string,
): Promise<{ restore: Restore; backupId: string }> {
  const restore = await getRestore(client, id);
  if (restore === null || restore.kind !== "restore") throw notFound("restore");
  const context = { runId: restore.id, tenantId: restore.tenantId };
  if (restore.status !== "succeeded") {
    throw new RecoveryError("conflict", `The restore has changed nothing to undo; it is ${restore.status}.`, context);
  }
  if (restore.preRestoreBackupId === null) {
    throw new RecoveryError("conflict", "The restore found nothing to change, so there is nothing to undo.", context);
  }
  await readableBackup(client, restore.preRestoreBackupId);
  return { restore, backupId: restore.preRestoreBackupId };
}
