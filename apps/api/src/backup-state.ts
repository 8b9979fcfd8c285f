import { type Backup, getBackup, type RequestCancelResult, type Run, type TenantClient } from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import { notFound } from "./problem.ts";

/** The tenant's backup, if it can be read. Throws `not_found`, and `conflict` when it isn't whole or is deleted. */
export async function readableBackup(client: TenantClient, backupId: string): Promise<Backup> {
  const backup = await getBackup(client, backupId);
  if (backup === null || backup.purgedAt !== null) throw notFound("backup");
  const context = { runId: backup.id, tenantId: backup.tenantId };
  if (backup.status !== "succeeded") {
    throw new RecoveryError("conflict", `The backup has not succeeded; it is ${backup.status}.`, {
      hint: "Choose a backup whose status is succeeded.",
      ...context,
    });
  }
  if (backup.deletedAt !== null) {
    throw new RecoveryError("conflict", "The backup is deleted.", { hint: "Undelete it first.", ...context });
  }
  return backup;
}

/** The run whose end was asked for; `note` is called when that changed something. Throws `conflict` when it had ended. */
export async function cancelledRun(
  result: RequestCancelResult | null,
  what: string,
  note: (run: Run) => Promise<void>,
): Promise<Run> {
  if (result === null) throw notFound(what);
  if (result.outcome === "ended") {
    throw new RecoveryError("conflict", `The ${what} has ended already; it is ${result.run.status}.`, {
      runId: result.run.id,
      tenantId: result.run.tenantId ?? undefined,
    });
  }
  await note(result.run);
  return result.run;
}
