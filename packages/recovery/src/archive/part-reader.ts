import { createHash } from "node:crypto";
import { type ObjectStore, StorageError } from "@rowback/storage";
import { RecoveryError } from "../errors.ts";
import type { BackupSeal } from "./backup-seal.ts";
import type { ManifestPart, PartRange } from "./manifest.ts";
import { type BackupId, partKey } from "./object-keys.ts";
import { openFrames } from "./sealed-part.ts";

/** Parts up to this size are kept once they were verified: they are what small tables share, and each table asks for them again. */
const KEPT_BYTES = 16 * 1_048_576;

/** Stored bytes from `offset` up to `end`, and what they hold: themselves, or what was sealed in them. */
interface Span {
  readonly offset: number;
  readonly end: number;
  readonly bytes: Uint8Array;
}

/**
 * Reads parts, always whole, so that their SHA-256, and every frame of sealed ones, can be checked; hands out only the ranges asked for.
 */
export class PartReader {
  readonly #store: ObjectStore;
  readonly #id: BackupId;
  readonly #writer: string | undefined;
  readonly #seal: BackupSeal | null;
  #kept: { readonly part: number; readonly spans: readonly Span[] } | null = null;

  /**
   * @param writer the manifest's
   * @param seal of an encrypted backup; null for one in clear
   */
  constructor(store: ObjectStore, id: BackupId, writer: string | undefined, seal: BackupSeal | null) {
    this.#store = store;
    this.#id = id;
    this.#writer = writer;
    this.#seal = seal;
  }

  /**
   * What these ranges of one part hold, in order, in clear. Ends only if the part has the size and SHA-256 of the manifest, and every
   * frame of it opened.
   * @throws RecoveryError `archive_damaged`; StorageError; the signal's reason
   */
  async *read(
    part: ManifestPart,
    ranges: readonly PartRange[],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array> {
    if (part.bytes > KEPT_BYTES) {
      for await (const span of this.#spans(part, signal)) yield* this.#within(part, ranges, span);
      return;
    }
    if (this.#kept?.part !== part.part) {
      const spans: Span[] = [];
      for await (const span of this.#spans(part, signal)) spans.push(span);
      this.#kept = { part: part.part, spans };
    }
    for (const span of this.#kept.spans) yield* this.#within(part, ranges, span);
  }

  async *#spans(part: ManifestPart, signal: AbortSignal | undefined): AsyncGenerator<Span> {
    const verified = this.#verified(part, signal);
    if (this.#seal !== null) return yield* openFrames(this.#seal, part.part, verified);
    let offset = 0;
    for await (const bytes of verified) {
      const end = offset + bytes.length;
      yield { offset, end, bytes };
      offset = end;
    }
  }

  /** What of a span lies in the ranges, which are in order. */
  *#within(part: ManifestPart, ranges: readonly PartRange[], span: Span): Generator<Uint8Array> {
    for (const range of ranges) {
      const from = Math.max(range.offset, span.offset);
      const to = Math.min(range.offset + range.bytes, span.end);
      if (from >= to) continue;
      if (this.#seal === null) yield span.bytes.subarray(from - span.offset, to - span.offset);
      else if (from === span.offset && to === span.end) yield span.bytes;
      else throw damagedPart(part, "has a frame that lies in no one range");
    }
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
      return await this.#store.get(partKey(this.#id, part.part, this.#writer), signal === undefined ? {} : { signal });
    } catch (error) {
      if (error instanceof StorageError && error.code === "object_missing") throw damagedPart(part, "is missing");
      throw error;
    }
  }
}

function damagedPart(part: ManifestPart, how: string): RecoveryError {
  return new RecoveryError("archive_damaged", `Part ${part.part} of the backup ${how}`, {
    hint: "Restore from another backup, and check the object store.",
  });
}
