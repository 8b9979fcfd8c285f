import { createHash } from "node:crypto";
import { type ObjectStore, StorageError } from "@rowback/storage";
import { RecoveryError } from "../errors.ts";
import { toRecoveryError } from "../postgres/source-error.ts";
import { type TableName, tableLabel } from "../postgres/tenancy.ts";
import type { TableProgress } from "../verb-context.ts";
import { equalFingerprints, FingerprintSum } from "./fingerprint.ts";
import { type KeyRing, requireKeys } from "./key-ring.ts";
import type { Manifest, ManifestTable } from "./manifest.ts";
import { decodeManifest } from "./manifest-text.ts";
import { type BackupId, manifestKey } from "./object-keys.ts";
import { PartReader } from "./part-reader.ts";
import { isPackError, unpack } from "./unpack.ts";

/** A row longer than this comes in several chunks. */
const LONGEST_HELD_ROW = 1_048_576;
/** No honest manifest is near this; a damaged or foreign object must not fill the memory. */
const MOST_MANIFEST_BYTES = 256 * 1_048_576;

const NEWLINE = 0x0a;

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
   * @throws RecoveryError `archive_damaged`, `unknown_table` (not in this backup), `store_*`, `cancelled` on abort
   */
  readTable(table: TableName, options?: { readonly signal?: AbortSignal | undefined }): AsyncIterable<Buffer>;
  /** Reads and checks every part and every table. @throws RecoveryError `archive_damaged` naming the table, `store_*`, `cancelled` */
  verify(options?: {
    readonly signal?: AbortSignal | undefined;
    readonly onProgress?: ((table: TableProgress) => void) | undefined;
  }): Promise<void>;
}

export interface OpenBackupOptions extends BackupId {
  readonly expectManifestSha256?: string | null | undefined;
  /** Opens encrypted backups; without it they fail with `key_missing`. */
  readonly keys?: KeyRing | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads and checks a backup's manifest. `expectManifestSha256` (lower-case hex, from the control database) proves also that
 * it is the manifest that was written, not another valid one.
 *
 * @throws RecoveryError `archive_damaged` (no manifest, or not the one expected), `manifest_unsupported`, `manifest_invalid`, `key_missing`,
 *   `key_wrong`, `store_*`
 */
export async function openBackup(store: ObjectStore, options: OpenBackupOptions): Promise<BackupArchive> {
  const { tenantId, backupId, signal } = options;
  try {
    const bytes = await readManifest(store, options);
    const manifestSha256 = createHash("sha256").update(bytes).digest("hex");
    const expected = options.expectManifestSha256 ?? manifestSha256;
    if (manifestSha256 !== expected) throw damaged("The manifest is not the one that the run wrote");
    const { manifest, key } = await decodeManifest(bytes, async (sealed) => {
      requireOwn(sealed, options);
      return await requireKeys(options.keys).get({ tenantId }, sealed.encryption.keyId);
    });
    requireOwn(manifest, options);
    const id = { tenantId, backupId };
    const seal = key === null || manifest.encryption === null ? null : { key, encryption: manifest.encryption, id };
    return new StoredBackup(new PartReader(store, id, manifest.writer, seal), manifest, manifestSha256);
  } catch (error) {
    throw toRecoveryError(error, { tenantId, signal });
  }
}

interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Rows and bytes of the table so far. */
  readonly onText?: (rows: number, bytes: number) => void;
}

function requireOwn(found: BackupId, { tenantId, backupId }: BackupId): void {
  if (found.backupId !== backupId || found.tenantId !== tenantId) throw damaged("The manifest is another backup's");
}

class StoredBackup implements BackupArchive {
  readonly manifest: Manifest;
  readonly manifestSha256: string;
  readonly #parts: PartReader;

  constructor(parts: PartReader, manifest: Manifest, manifestSha256: string) {
    this.#parts = parts;
    this.manifest = manifest;
    this.manifestSha256 = manifestSha256;
  }

  async *readTable(table: TableName, options: ReadOptions = {}): AsyncGenerator<Buffer> {
    const { tenantId } = this.manifest;
    const label = tableLabel(table);
    const entry = this.manifest.tables.find((candidate) => tableLabel(candidate.table) === label);
    if (entry === undefined) {
      throw new RecoveryError("unknown_table", `The backup holds no table ${label}`, { tenantId, table: label });
    }
    try {
      yield* wholeRows(this.#checkedText(entry, options));
    } catch (error) {
      throw toRecoveryError(isPackError(error) ? damaged(`A block of ${label} is damaged`, error) : error, {
        tenantId,
        table: label,
        signal: options.signal,
      });
    }
  }

  async verify(
    options: {
      readonly signal?: AbortSignal | undefined;
      readonly onProgress?: ((table: TableProgress) => void) | undefined;
    } = {},
  ): Promise<void> {
    for (const entry of this.manifest.tables.toSorted(byFirstPart)) {
      const table = tableLabel(entry.table);
      const onText = (rows: number, bytes: number): void => options.onProgress?.({ table, rows, bytes, done: false });
      for await (const _rows of this.readTable(entry.table, { signal: options.signal, onText })) {
        // The end of the stream is what counts.
      }
      options.onProgress?.({ table, rows: entry.fingerprint.rows, bytes: entry.rawBytes, done: true });
    }
  }

  /** The table's COPY text in chunks cut anywhere; its end proves count, bytes and fingerprint. */
  async *#checkedText(entry: ManifestTable, { signal, onText }: ReadOptions): AsyncGenerator<Buffer> {
    const sum = new FingerprintSum();
    let rawBytes = 0;
    for await (const text of this.#text(entry, signal)) {
      signal?.throwIfAborted();
      rawBytes += text.length;
      if (rawBytes > entry.rawBytes)
        throw damaged(`${tableLabel(entry.table)} has more than its ${entry.rawBytes} bytes`);
      sum.addText(text);
      onText?.(sum.rows, rawBytes);
      yield text;
    }
    if (rawBytes !== entry.rawBytes || !equalFingerprints(sum.result(), entry.fingerprint)) {
      throw damaged(`${tableLabel(entry.table)} does not hold the rows its fingerprint was taken of`);
    }
  }

  async *#text(entry: ManifestTable, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
    if (entry.ranges.length === 0) return;
    yield* unpack(this.#stored(entry, signal), this.manifest.compression, signal);
  }

  async *#stored(entry: ManifestTable, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
    for (const part of this.manifest.parts) {
      const ranges = entry.ranges.filter((range) => range.part === part.part);
      if (ranges.length > 0) yield* this.#parts.read(part, ranges, signal);
    }
  }
}

/** The same text, cut at the ends of rows; only a row that is too long to hold comes in pieces. */
async function* wholeRows(text: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let begun: Buffer[] = [];
  let begunBytes = 0;
  for await (const chunk of text) {
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    if (end > 0) {
      begun.push(chunk.subarray(0, end));
      yield begun.length === 1 ? chunk.subarray(0, end) : Buffer.concat(begun);
      begun = [];
      begunBytes = 0;
    }
    if (end < chunk.length) {
      begun.push(chunk.subarray(end));
      begunBytes += chunk.length - end;
    }
    if (begunBytes > LONGEST_HELD_ROW) {
      yield Buffer.concat(begun);
      begun = [];
      begunBytes = 0;
    }
  }
}

/** The stored manifest as it is, of a length that a manifest can have. @throws RecoveryError `archive_damaged`; StorageError */
export async function readManifest(
  store: ObjectStore,
  options: BackupId & { readonly signal?: AbortSignal | undefined },
): Promise<Buffer> {
  const { signal } = options;
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const piece of await store.get(manifestKey(options), signal === undefined ? {} : { signal })) {
      pieces.push(piece);
      bytes += piece.length;
      if (bytes > MOST_MANIFEST_BYTES) throw damaged("The manifest is longer than any manifest can be");
    }
  } catch (error) {
    if (error instanceof StorageError && error.code === "object_missing") throw damaged("The backup has no manifest");
    throw error;
  }
  return Buffer.concat(pieces);
}

/** Tables that share a part follow one another, so that the part is read once. */
function byFirstPart(a: ManifestTable, b: ManifestTable): number {
  return (a.ranges[0]?.part ?? 0) - (b.ranges[0]?.part ?? 0);
}

function damaged(message: string, cause?: unknown): RecoveryError {
  return new RecoveryError("archive_damaged", message, {
    hint: "Restore from another backup, and check the object store.",
    cause,
  });
}
