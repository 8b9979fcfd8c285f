import type { Fingerprint, Manifest } from "../archive/manifest.ts";
import { lsnDigits } from "../postgres/lsn.ts";
import type { SnapshotInfo } from "../postgres/snapshot.ts";
import type { TableName } from "../postgres/tenancy.ts";

export interface BackupOutcome {
  readonly rowCount: number;
  /** Bytes of COPY text. */
  readonly rawBytes: number;
  /** Bytes of all objects, manifest included. */
  readonly storedBytes: number;
  readonly objectCount: number;
  readonly manifestSha256: string;
  readonly snapshot: {
    readonly lsn: string;
    readonly at: Date;
    /** `pg_current_snapshot()` */
    readonly pgSnapshot: string;
    /** A WAL position read after the snapshot: 16 hexadecimal digits. */
    readonly endLsn: string;
  };
  readonly serverVersion: string;
  /** The data key that sealed it; null: stored in clear. */
  readonly keyId: string | null;
  /** What it may lack all the same: tables taken for nobody's, rows of nobody, sequences the role may not read. */
  readonly warnings: readonly string[];
  readonly tables: readonly {
    readonly table: TableName;
    readonly rows: number;
    readonly rawBytes: number;
    readonly fingerprint: Fingerprint;
  }[];
}

/** What a backup came to, by its manifest. */
export function outcomeOf(
  manifest: Manifest,
  { info, warnings }: { readonly info: SnapshotInfo; readonly warnings: readonly string[] },
  stored: { sha256: string; bytes: number },
): BackupOutcome {
  const { tables, parts } = manifest;
  return {
    rowCount: tables.reduce((sum, table) => sum + table.fingerprint.rows, 0),
    rawBytes: tables.reduce((sum, table) => sum + table.rawBytes, 0),
    storedBytes: parts.reduce((sum, part) => sum + part.bytes, stored.bytes),
    objectCount: parts.length + 1,
    manifestSha256: stored.sha256,
    snapshot: { lsn: info.lsn, at: info.at, pgSnapshot: info.pgSnapshot, endLsn: lsnDigits(info.endLsn) },
    serverVersion: info.serverVersion,
    keyId: manifest.encryption?.keyId ?? null,
    warnings,
    tables: tables.map(({ table, fingerprint, rawBytes }) => ({
      table,
      rows: fingerprint.rows,
      rawBytes,
      fingerprint,
    })),
  };
}
