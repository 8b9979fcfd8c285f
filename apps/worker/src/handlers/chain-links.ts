import { type Backup, listChain, type Queryable } from "@rowback/db";
import type { ChainLink } from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";

/** A backup with all that it stands on, the full one first. Throws `not_found`, `chain_broken` where one below is not there any more. */
export async function chainOf(
  control: Queryable,
  tenantId: string,
  backupId: string,
): Promise<{ readonly base: Backup; readonly links: readonly ChainLink[] }> {
  const chain = await listChain(control, backupId);
  const [base] = chain;
  if (base === undefined || base.tenantId !== tenantId)
    throw new RecoveryError("not_found", `Backup ${backupId} is not there.`, { tenantId });
  const lost = chain.find((backup) => backup.status !== "succeeded" || backup.deletedAt !== null);
  if (lost !== undefined || base.type !== "full") {
    throw new RecoveryError("chain_broken", `Backup ${(lost ?? base).id}, which ${backupId} stands on, is not there.`, {
      tenantId,
      runId: backupId,
      hint: "Undelete it, or choose another backup; take a full backup for later ones to stand on.",
    });
  }
  return { base, links: chain.map(({ id, manifestSha256 }) => ({ backupId: id, manifestSha256 })) };
}
