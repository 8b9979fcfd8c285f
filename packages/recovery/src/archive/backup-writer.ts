import { createHash, randomBytes } from "node:crypto";
import { type ObjectStore, StorageError, type StoredObject } from "@rowback/storage";
import pRetry from "p-retry";
import { RecoveryError } from "../errors.ts";
import { type BackupSeal, newBackupSeal } from "./backup-seal.ts";
import type { Compression } from "./block.ts";
import { type LaneBackup, LaneWriter } from "./lane-writer.ts";
import type { Encryption, Manifest, ManifestPart } from "./manifest.ts";
import { encodeManifest, encodeSealedManifest } from "./manifest-text.ts";
import { type BackupId, manifestKey, partKey } from "./object-keys.ts";
import type { PartSink } from "./part-sink.ts";
import { PartWriter } from "./part-writer.ts";
import type { SealKey } from "./sealed-block.ts";
import { END_FRAME_BYTES, SealedPartWriter } from "./sealed-part.ts";

/** Cleaning up after a failure must not hold a worker for long; the sweeper finds what is left. */
const CLEAN_UP_MS = 10_000;
const WRITER_BYTES = 16;
/** As often as the store tries other calls: one lost packet at the end must not cost a backup of hours. */
const PUBLISH_RETRY = { retries: 4, minTimeout: 200, maxTimeout: 4_000, factor: 2, randomize: true } as const;
/** Manifests that come in between: each earlier attempt has one, and each lost answer leaves one's own. */
const MOST_RIVALS = 5;

export interface BackupWriterOptions {
  readonly signal: AbortSignal;
  /** What the tenant may still store; null for no limit. */
  readonly mostBytes: number | null;
  /** The tenant's data key; null for a backup in clear. */
  readonly key: SealKey | null;
  /** `gzip` unless told. */
  readonly compression?: Compression | undefined;
}

/** One attempt to write the objects of one backup. Parts become visible one by one, the backup only by `writeManifest`. */
export class BackupWriter implements LaneBackup {
  readonly compression: Compression;
  readonly #store: ObjectStore;
  readonly #id: BackupId;
  /** Tells this attempt from all others; its parts are named by it. */
  readonly writer = randomBytes(WRITER_BYTES).toString("hex");
  readonly #signal: AbortSignal;
  readonly #mostBytes: number;
  readonly #seal: BackupSeal | null;
  readonly #lanes: LaneWriter[] = [];
  readonly #parts: ManifestPart[] = [];
  #opened = 0;
  #publishes = false;
  #bytes = 0;

  constructor(store: ObjectStore, id: BackupId, options: BackupWriterOptions) {
    this.#store = store;
    this.#id = { tenantId: id.tenantId, backupId: id.backupId };
    this.compression = options.compression ?? "gzip";
    this.#signal = options.signal;
    this.#mostBytes = options.mostBytes ?? Number.POSITIVE_INFINITY;
    this.#seal = options.key === null ? null : newBackupSeal(options.key, this.#id, this.writer);
  }

  /** A writer for one connection's tables. Lanes work side by side; each writes parts of its own. */
  openLane(): LaneWriter {
    const lane = new LaneWriter(this);
    this.#lanes.push(lane);
    return lane;
  }

  /** The next part; its number is taken in the order in which parts get their first block. */
  openPart(): { readonly number: number; readonly writer: PartSink } {
    const number = this.#opened;
    this.#opened += 1;
    const writer = new PartWriter(this.#store, partKey(this.#id, number, this.writer), this.#signal);
    if (this.#seal === null) return { number, writer };
    this.claimBytes(END_FRAME_BYTES);
    return { number, writer: new SealedPartWriter(writer, this.#seal, number) };
  }

  /** Writes the next part in one go: `put` stores it under the key it is given. @throws RecoveryError `quota_exceeded` */
  async writePart(put: (key: string) => Promise<StoredObject>): Promise<void> {
    const number = this.#opened;
    this.#opened += 1;
    const stored = await put(partKey(this.#id, number, this.writer));
    this.claimBytes(stored.bytes);
    this.addPart(number, stored);
  }

  /** What the manifest says of how the parts are sealed. */
  get encryption(): Encryption | null {
    return this.#seal?.encryption ?? null;
  }

  /** Every lane tells what it is about to store. @throws RecoveryError `quota_exceeded` over the limit */
  claimBytes(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > this.#mostBytes) {
      throw new RecoveryError(
        "quota_exceeded",
        `The backup needs more than the ${this.#mostBytes} bytes that are left to the tenant`,
        {
          hint: "Delete old backups, or raise the tenant's storage quota.",
          retryable: false,
        },
      );
    }
  }

  addPart(part: number, stored: StoredObject): void {
    this.#parts.push({ part, bytes: stored.bytes, sha256: stored.sha256 });
  }

  /** Parts that are durable, by number; complete when every lane is finished. */
  get parts(): readonly ManifestPart[] {
    return this.#parts.toSorted((a, b) => a.part - b.part);
  }

  /** Makes the backup exist. Resolves when it is durable. */
  async writeManifest(
    described: Omit<Manifest, "writer">,
  ): Promise<{ readonly sha256: string; readonly bytes: number }> {
    const manifest = { ...described, writer: this.writer };
    const text = this.#seal === null ? encodeManifest(manifest) : encodeSealedManifest(manifest, this.#seal);
    this.claimBytes(text.length);
    this.#publishes = true;
    await pRetry(() => this.#publish(text), {
      ...PUBLISH_RETRY,
      signal: this.#signal,
      shouldRetry: ({ error }) => error instanceof StorageError && error.retryable,
    });
    return { sha256: createHash("sha256").update(text).digest("hex"), bytes: text.length };
  }

  /**
   * The manifest is all that attempts share. It is put only where there is none, so that an earlier attempt's that is still on its way
   * can't take its place when it arrives; one that arrived before makes way.
   */
  async #publish(text: Buffer): Promise<void> {
    const [key, signal] = [manifestKey(this.#id), this.#signal];
    for (let rivals = 0; ; rivals += 1) {
      try {
        await this.#store.put(key, text, { signal, onlyIfAbsent: true });
        return;
      } catch (error) {
        if (!(error instanceof StorageError) || error.code !== "object_exists" || rivals === MOST_RIVALS) throw error;
      }
      // An earlier attempt's; or its own, where the answer to an earlier try was lost.
      await this.#store.delete([key], { signal });
    }
  }

  /** After any failure: stops the lanes and deletes the parts, as far as the store lets it. Never throws. */
  async abort(error: unknown): Promise<void> {
    await Promise.allSettled(this.#lanes.map((lane) => lane.abort(error)));
    const signal = AbortSignal.timeout(CLEAN_UP_MS);
    // Only one that may be its own: another attempt's is not its to take back.
    if (this.#publishes) await this.#store.delete([manifestKey(this.#id)], { signal }).catch(() => {});
    const keys = Array.from({ length: this.#opened }, (_, part) => partKey(this.#id, part, this.writer));
    await this.#store.delete(keys, { signal }).catch(() => {});
  }
}
