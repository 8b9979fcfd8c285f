import { createHash } from "node:crypto";
import { type ObjectStore, StorageError } from "@rowback/storage";
import { RecoveryError } from "../errors.ts";
import type { ManifestPart, PartRange } from "./manifest.ts";
import { type BackupId, partKey } from "./object-keys.ts";

/** Parts up to this size are kept once they were verified: they are what small tables share, and each table asks for them again. */
const KEPT_BYTES = 16 * 1_048_576;

/** Reads parts, always whole, so that their SHA-256 can be checked; hands out only the ranges asked for. */
export class PartReader {
  readonly #store: ObjectStore;
  readonly #id: BackupId;
  #kept: { readonly part: number; readonly bytes: Buffer } | null = null;

  constructor(store: ObjectStore, id: BackupId) {
    this.#store = store;
    this.#id = id;
  }

  /**
   * The bytes of these ranges of one part, in order. Ends only if the part has the size and SHA-256 of the manifest.
   * @throws RecoveryError `archive_damaged`; StorageError; the signal's reason
   */
  async *read(
    part: ManifestPart,
    ranges: readonly PartRange[],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array> {
    if (part.bytes > KEPT_BYTES) {
      yield* within(ranges, this.#verified(part, signal));
      return;
    }
    if (this.#kept?.part !== part.part) {
      const pieces: Uint8Array[] = [];
      for await (const piece of this.#verified(part, signal)) pieces.push(piece);
      this.#kept = { part: part.part, bytes: Buffer.concat(pieces) };
    }
    const { bytes } = this.#kept;
    for (const range of ranges) yield bytes.subarray(range.offset, range.offset + range.bytes);
  }

  async *#verified(part: ManifestPart, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const piece of await this.#open(part, signal)) {
      signal?.throwIfAborted();
      hash.update(piece);
      bytes += piece.length;
      if (bytes > part.bytes) throw damagedPart(part, `is longer than ${part.bytes} bytes`);
      yield piece;
    }
    if (bytes < part.bytes) throw damagedPart(part, `ends after ${bytes} of ${part.bytes} bytes`);
    if (hash.digest("hex") !== part.sha256) throw damagedPart(part, "was altered: its SHA-256 differs");
  }

  async #open(part: ManifestPart, signal: AbortSignal | undefined): Promise<AsyncIterable<Uint8Array>> {
    try {
      return await this.#store.get(partKey(this.#id, part.part), signal === undefined ? {} : { signal });
    } catch (error) {
      if (error instanceof StorageError && error.code === "object_missing") throw damagedPart(part, "is missing");
      throw error;
    }
  }
}

/** What of a part's pieces lies in the ranges, which are in order. Reads the pieces to their end. */
async function* within(ranges: readonly PartRange[], pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let offset = 0;
  for await (const piece of pieces) {
    for (const range of ranges) {
      const from = Math.max(range.offset - offset, 0);
      const to = Math.min(range.offset + range.bytes - offset, piece.length);
      if (from < to) yield piece.subarray(from, to);
    }
    offset += piece.length;
  }
}

function damagedPart(part: ManifestPart, how: string): RecoveryError {
  return new RecoveryError("archive_damaged", `Part ${part.part} of the backup ${how}`, {
    hint: "Restore from another backup, and check the object store.",
  });
}
