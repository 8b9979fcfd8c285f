import { type BackupArchive, type OpenBackupOptions, openBackup } from "../archive/backup-reader.ts";
import { tableLabel } from "../postgres/tenancy.ts";
import type { Progress, TableProgress, VerbContext } from "../verb-context.ts";

export interface VerifyOutcome {
  readonly manifestSha256: string;
  readonly rowCount: number;
  /** Bytes of COPY text that were read and checked. */
  readonly rawBytes: number;
}

/**
 * Reads a whole backup and checks every byte of it: manifest, parts, rows.
 * @param open how, where it is more than its own objects
 * @throws RecoveryError `archive_damaged`, `manifest_unsupported`, `manifest_invalid`, `key_*`, `store_*`, `cancelled`
 */
export async function verifyBackup(
  ctx: Pick<VerbContext, "store" | "keys" | "signal" | "onProgress">,
  backup: Omit<OpenBackupOptions, "signal" | "keys">,
  open: () => Promise<BackupArchive> = () => openBackup(ctx.store, { ...backup, keys: ctx.keys, signal: ctx.signal }),
): Promise<VerifyOutcome> {
  const archive = await open();
  const { manifest, manifestSha256 } = archive;
  const seen = new Map<string, TableProgress>(
    manifest.tables.map(({ table }) => [
      tableLabel(table),
      { table: tableLabel(table), rows: 0, bytes: 0, done: false },
    ]),
  );
  const rawBytes = manifest.tables.reduce((sum, table) => sum + table.rawBytes, 0);
  let endedBytes = 0;
  await archive.verify({
    signal: ctx.signal,
    onProgress: (table) => {
      seen.set(table.table, table);
      const checked = endedBytes + table.bytes;
      if (table.done) endedBytes = checked;
      ctx.onProgress?.(progress(seen, rawBytes === 0 ? 1 : checked / rawBytes));
    },
  });
  return {
    manifestSha256,
    rowCount: manifest.tables.reduce((sum, table) => sum + table.fingerprint.rows, 0),
    rawBytes,
  };
}

function progress(tables: ReadonlyMap<string, TableProgress>, share: number): Progress {
  return { phase: "verify", share, tables: [...tables.values()] };
}
