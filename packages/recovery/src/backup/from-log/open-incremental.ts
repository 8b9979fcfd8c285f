import { type BackupArchive, openBackup } from "../../archive/backup-reader.ts";
import { equalFingerprints, NO_ROWS } from "../../archive/fingerprint.ts";
import type { Manifest } from "../../archive/manifest.ts";
import { joinChanges } from "../../changes/moment/joined-changes.ts";
import { momentOf } from "../../changes/moment/moment-archive.ts";
import { RecoveryError } from "../../errors.ts";
import { toRecoveryError } from "../../postgres/source-error.ts";
import { tableLabel } from "../../postgres/tenancy.ts";
import { type ChainContext, type ChainRequest, linkTo, openChain } from "./chain.ts";

/**
 * An incremental backup as what it stands for: the tenant's rows at its snapshot. The full backup, what the ones between carry and what it
 * carries itself are folded once, and have to come to the rows that its manifest says.
 * @param request the last link is the backup itself
 * @throws RecoveryError `chain_broken` naming a backup it stands on; `archive_damaged`, `change_log_damaged` (its own), `manifest_*`, `key_*`,
 *   `schema_drift`, `store_*`, `cancelled`
 */
export async function openIncremental(ctx: ChainContext, request: ChainRequest): Promise<BackupArchive> {
  const { tenantId, links } = request;
  const own = links.at(-1);
  if (own === undefined) throw new RecoveryError("internal", "A chain without a link can't be opened", { tenantId });
  const { store, keys, signal } = ctx;
  try {
    const archive = await openBackup(store, {
      tenantId,
      backupId: own.backupId,
      expectManifestSha256: own.manifestSha256,
      keys,
      signal,
    });
    const chain = await linkTo(ctx, await openChain(ctx, { ...request, links: links.slice(0, -1) }), archive);
    const moment = await momentOf(chain.base, joinChanges(chain.changes), { signal });
    requireRows(archive.manifest, moment.manifest);
    return asManifest(archive, moment);
  } catch (error) {
    throw toRecoveryError(error, { tenantId, signal });
  }
}

/** Every byte was right, so only what folds them can be wrong here; still nothing is to be restored that the backup never held. */
function requireRows({ backupId, tables }: Manifest, folded: Manifest): void {
  const found = new Map(folded.tables.map(({ table, fingerprint }) => [tableLabel(table), fingerprint]));
  for (const { table, fingerprint } of tables) {
    const label = tableLabel(table);
    if (equalFingerprints(found.get(label) ?? NO_ROWS, fingerprint)) continue;
    throw new RecoveryError("archive_damaged", `Backup ${backupId} comes to other rows of ${label} than it held`, {
      table: label,
      hint: "Restore from another backup, and check the object store.",
    });
  }
}

/** The folded rows under the backup's own manifest: it knows the schema and the sequences of its time. */
function asManifest({ manifest, manifestSha256 }: BackupArchive, moment: BackupArchive): BackupArchive {
  const known = new Set(moment.manifest.tables.map(({ table }) => tableLabel(table)));
  return {
    manifest,
    manifestSha256,
    readTable: async function* (table, options) {
      const label = tableLabel(table);
      const isOurs = manifest.tables.some((entry) => tableLabel(entry.table) === label);
      if (isOurs && !known.has(label)) return;
      yield* moment.readTable(table, options);
    },
    verify: (options) => moment.verify(options),
  };
}
