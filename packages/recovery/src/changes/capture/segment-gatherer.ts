import type { ObjectStore } from "@rowback/storage";
import type { Change } from "../log/change-lines.ts";
import { SegmentWriter, type WrittenSegment } from "../log/segment-writer.ts";
import type { CaptureTarget, Covered } from "./capture-target.ts";
import type { Gap } from "./gap.ts";
import type { PublishedTable } from "./published-tables.ts";

/** When a segment is full. */
export interface SegmentLimits {
  /** Bytes of lines. */
  readonly bytes: number;
  /** Milliseconds since its first change. */
  readonly ms: number;
}

export interface GathererOptions {
  readonly sourceId: string;
  readonly epoch: number;
  readonly store: ObjectStore;
  readonly target: CaptureTarget;
  readonly signal: AbortSignal;
  readonly limits: SegmentLimits;
  /** Called when everything below `lsn` is durable and recorded. */
  readonly onDurable: (covered: Covered) => void;
}

/**
 * Gathers changes into segments, stores one while it gathers the next, and records them in order: those of a transaction that spans
 * several together with the one that holds its end.
 */
export class SegmentGatherer {
  readonly #options: GathererOptions;
  #writer: SegmentWriter;
  #openedAt: number | null = null;
  #piece = 0;
  /** A full piece of the open transaction: it goes on in another only if another change comes. */
  #full: SegmentWriter | null = null;
  /** Stored pieces of a transaction that goes on. */
  #chain: WrittenSegment[] = [];
  #storing: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | null = null;

  constructor(options: GathererOptions) {
    this.#options = options;
    this.#writer = this.#newWriter(0);
  }

  /** Whether all that was added is recorded, or on its way. */
  get isEmpty(): boolean {
    return this.#writer.isEmpty && this.#full === null && this.#chain.length === 0;
  }

  add(change: Change): void {
    if (this.#openedAt === null) this.#openedAt = performance.now();
    if (this.#full !== null) this.#storePiece(this.#full);
    this.#writer.add(change);
  }

  get isFull(): boolean {
    return this.#writer.rawBytes >= this.#options.limits.bytes;
  }

  get isDue(): boolean {
    return this.isFull || (this.#openedAt !== null && performance.now() - this.#openedAt >= this.#options.limits.ms);
  }

  /** Inside a transaction: ends a piece of it. Waits until the one before is stored. */
  async cut(): Promise<void> {
    await this.settle();
    this.#full = this.#writer;
    this.#writer = this.#newWriter(this.#piece + 1);
  }

  /** Between transactions: stores and records what there is, its gaps first, and how far the log reaches with it; `told` as of CaptureTarget. */
  async close(covered: Covered, gaps: readonly Gap[], told: readonly PublishedTable[]): Promise<void> {
    await this.settle();
    const writer = this.#full ?? this.#writer;
    const { target, onDurable } = this.#options;
    this.#full = null;
    this.#writer = this.#newWriter(0);
    this.#openedAt = null;
    this.#inBackground(async () => {
      const segments = writer.isEmpty ? this.#chain : [...this.#chain, await this.#put(writer, false)];
      this.#chain = [];
      if (gaps.length > 0) await target.declare(gaps);
      await target.publish(segments, covered, told);
      onDurable(covered);
    });
  }

  /** Resolves when everything that was cut or closed is recorded. */
  async settle(): Promise<void> {
    await this.#storing;
    this.#throwFailure();
  }

  #storePiece(writer: SegmentWriter): void {
    this.#full = null;
    this.#inBackground(async () => {
      this.#chain.push(await this.#put(writer, true));
    });
  }

  /** One is stored while the next is gathered. Whoever calls has waited for the one before. */
  #inBackground(store: () => Promise<void>): void {
    this.#storing = store().catch((error: unknown) => {
      this.#failure ??= { error };
    });
  }

  #put(writer: SegmentWriter, continues: boolean): Promise<WrittenSegment> {
    return writer.put(this.#options.store, { continues, signal: this.#options.signal });
  }

  #newWriter(piece: number): SegmentWriter {
    const { sourceId, epoch } = this.#options;
    this.#piece = piece;
    return new SegmentWriter({ sourceId, epoch, piece, continued: piece > 0 });
  }

  #throwFailure(): void {
    if (this.#failure !== null) throw this.#failure.error;
  }
}
