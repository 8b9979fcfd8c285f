import type { ObjectStore } from "@rowback/storage";
import type { TableName } from "../postgres/tenancy.ts";
import type { TableProgress } from "../verb-context.ts";
import type { Manifest } from "./manifest.ts";

/** A backup that exists, opened for reading. Holds no resource: nothing to close. */
export interface BackupArchive {
  readonly manifest: Manifest;
  /** SHA-256 of the stored manifest object, lower-case hex. */
  readonly manifestSha256: string;
  /**
   * The table's COPY text. A chunk holds whole rows, unless one row is longer than 1 MiB: such a row comes in several chunks.
   * The end of the iteration proves the table: part sizes and SHA-256, row count, raw bytes and fingerprint were all checked. Anything
   * else throws `archive_damaged`, so nothing read before the end may be kept. Memory stays flat at any size.
   *
   * @throws RecoveryError `archive_damaged`, `unknown_table` (not in this backup), `store_*`; the signal's reason on abort
   */
  readTable(table: TableName, options?: { readonly signal?: AbortSignal | undefined }): AsyncIterable<Buffer>;
  /** Reads and checks every part and every table. @throws RecoveryError `archive_damaged` naming the table, `store_*` */
  verify(options?: {
    readonly signal?: AbortSignal | undefined;
    readonly onProgress?: ((table: TableProgress) => void) | undefined;
  }): Promise<void>;
}

/**
 * Reads and checks a backup's manifest. `expectManifestSha256` (lower-case hex, from the control database) proves also that
 * it is the manifest that was written, not another valid one.
 *
 * @throws RecoveryError `archive_damaged` (no manifest, or not the one expected), `manifest_unsupported`, `manifest_invalid`, `store_*`
 */
export async function openBackup(
  _store: ObjectStore,
  _options: {
    readonly tenantId: string;
    readonly backupId: string;
    readonly expectManifestSha256?: string | null | undefined;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<BackupArchive> {
  throw new Error("being written");
}
