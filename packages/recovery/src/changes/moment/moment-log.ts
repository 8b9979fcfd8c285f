import type { ObjectStore } from "@rowback/storage";
import { type TableName, tableLabel } from "../../postgres/tenancy.ts";
import type { Relation, SegmentBlock } from "../log/segment-index.ts";
import { openSegment, readBlocks, type Segment } from "../log/segment-reader.ts";
import type { ChangeSpan, Transaction } from "./change-span.ts";
import { LineReader, type LoggedChange, type LoggedRowChange } from "./logged-lines.ts";
import { mergeChanges } from "./merge-changes.ts";

/** Indexes that are fetched at once: each is one request of a few kilobytes, so what counts is the store's latency. */
const INDEXES_AT_ONCE = 8;
/** Block text that is kept for the next reading: most tenants' changes fit, and each is read some four times. */
const KEPT_BYTES = 16 * 1_048_576;
/** Up to here all of a segment that concerns the tenant is fetched at once, because its blocks are neighbours. */
const FETCHED_TOGETHER_BYTES = 1_048_576;

/** Where a segment is, as the control database or a listing says. */
export interface SegmentPlace {
  readonly key: string;
  /** Stored bytes. */
  readonly bytes: number;
}

/** What of one segment concerns the tenant. Not the segment itself: its index speaks of everybody's blocks. */
interface TenantPart {
  readonly key: string;
  readonly blocks: readonly SegmentBlock[];
  readonly rawBytes: number;
}

/** Where one relation's changes of the tenant (or nobody's) are, in one segment. */
interface Stretch {
  readonly part: TenantPart;
  readonly relation: Relation;
  readonly own: readonly SegmentBlock[];
  readonly shared: readonly SegmentBlock[];
}

/** One change of a table, with the definition its rows have. */
export interface LoggedTableChange extends LoggedTableLine {
  readonly change: LoggedRowChange;
}

/** The same, or that the table has this definition from there on. */
export interface LoggedTableLine {
  readonly change: LoggedChange;
  readonly relation: Relation;
  /** It stood in the shared part: whose it is has to be found out. */
  readonly shared: boolean;
}

export interface OpenLogOptions {
  readonly tenantKey: string;
  readonly span: ChangeSpan;
  readonly signal?: AbortSignal | undefined;
}

/** One tenant's part of a source's change log, between a base and a moment. Holds where the blocks are, and the text of the first few. */
export class MomentLog {
  readonly span: ChangeSpan;
  readonly #store: ObjectStore;
  readonly #tables: ReadonlyMap<string, readonly Stretch[]>;
  readonly #signal: AbortSignal | undefined;
  readonly #kept: BlockTexts;

  private constructor(
    store: ObjectStore,
    tables: ReadonlyMap<string, readonly Stretch[]>,
    kept: BlockTexts,
    options: Pick<OpenLogOptions, "span" | "signal">,
  ) {
    this.span = options.span;
    this.#store = store;
    this.#tables = tables;
    this.#kept = kept;
    this.#signal = options.signal;
  }

  /**
   * Reads the indexes of these segments, which are in commit order.
   * @throws RecoveryError `change_log_damaged`; StorageError; the signal's reason
   */
  static async open(
    store: ObjectStore,
    segments: AsyncIterable<SegmentPlace> | Iterable<SegmentPlace>,
    options: OpenLogOptions,
  ): Promise<MomentLog> {
    const { tenantKey, signal } = options;
    const tables = new Map<string, Stretch[]>();
    // Segments repeat what they know of a table; equal definitions are one.
    const relations = new Map<string, Relation>();
    for await (const segment of ahead(segments, ({ key, bytes }) => openSegment(store, key, bytes, { signal }))) {
      for (const stretch of stretchesOf(segment, tenantKey)) {
        const definition = JSON.stringify(stretch.relation);
        const relation = relations.get(definition) ?? stretch.relation;
        relations.set(definition, relation);
        const label = tableLabel(relation.table);
        const stretches = tables.get(label) ?? [];
        stretches.push({ ...stretch, relation });
        tables.set(label, stretches);
      }
    }
    return new MomentLog(store, tables, { texts: new Map(), bytes: 0 }, options);
  }

  /** The same log over another span. */
  within(span: ChangeSpan): MomentLog {
    return new MomentLog(this.#store, this.#tables, this.#kept, { span, signal: this.#signal });
  }

  /** Tables that the tenant's blocks, or the shared part, speak of. Whether a change of them belongs to the moment is not known yet. */
  get tables(): readonly TableName[] {
    return [...this.#tables.values()].flatMap((stretches) =>
      stretches.slice(0, 1).map(({ relation }) => relation.table),
    );
  }

  /** Bytes of lines of this table, changes outside of the span included. */
  rawBytes(label: string): number {
    const blocks = (this.#tables.get(label) ?? []).flatMap(({ own, shared }) => [...own, ...shared]);
    return sumOf(blocks);
  }

  /** The changes of a table that belong to the span, in commit order, in batches. */
  async *changes(label: string): AsyncGenerator<LoggedTableChange[]> {
    for await (const lines of this.lines(label)) {
      const batch = lines.filter(isRowChange).filter(({ change }) => this.span.includes(change.transaction));
      if (batch.length > 0) yield batch;
    }
  }

  /**
   * Everything the log says of a table, in the span or not, in commit order, in batches. What two segments hold (a reader may be given a merged one and
   * what it was merged of) comes once.
   */
  async *lines(label: string): AsyncGenerator<LoggedTableLine[]> {
    let last: { readonly lsn: bigint; readonly seq: number } = { lsn: -1n, seq: -1 };
    for (const stretch of this.#tables.get(label) ?? []) {
      const before = last;
      const streams = [
        { stream: true, batches: this.#lines(stretch, stretch.shared) },
        { stream: false, batches: this.#lines(stretch, stretch.own) },
      ];
      for await (const merged of mergeChanges(streams)) {
        const batch: LoggedTableLine[] = [];
        for (const { change, stream: shared } of merged) {
          const { lsn } = change.transaction;
          if (lsn < before.lsn || (lsn === before.lsn && change.seq <= before.seq)) continue;
          last = { lsn, seq: change.seq };
          batch.push({ change, relation: stretch.relation, shared });
        }
        if (batch.length > 0) yield batch;
      }
    }
  }

  /** The commit of this transaction, if it changed something of the tenant (or of nobody known), whether in the span or not; else null. */
  async findTransaction(xid: bigint): Promise<Transaction | null> {
    for (const stretch of [...this.#tables.values()].flat()) {
      for (const blocks of [stretch.own, stretch.shared]) {
        for await (const batch of this.#lines(stretch, blocks)) {
          const found = batch.find(({ op, transaction }) => op !== "altered" && transaction.xid === xid);
          if (found !== undefined) return found.transaction;
        }
      }
    }
    return null;
  }

  async *#lines({ part }: Stretch, blocks: readonly SegmentBlock[]): AsyncGenerator<LoggedChange[]> {
    const lines = new LineReader();
    for await (const text of this.#texts(part, blocks)) yield lines.read(text);
  }

  async *#texts(part: TenantPart, blocks: readonly SegmentBlock[]): AsyncGenerator<Buffer> {
    const { texts } = this.#kept;
    const isKept = blocks.every((block) => texts.has(block));
    if (!isKept && part.rawBytes <= FETCHED_TOGETHER_BYTES && this.#kept.bytes + part.rawBytes <= KEPT_BYTES) {
      for await (const { block, text } of this.#read(part, part.blocks)) texts.set(block, text);
      this.#kept.bytes += part.rawBytes;
    }
    const missing: SegmentBlock[] = [];
    for (const block of blocks) {
      const text = texts.get(block);
      if (text === undefined) missing.push(block);
      else yield text;
    }
    for await (const { text } of this.#read(part, missing)) yield text;
  }

  /** Every block is checked against its digest. */
  #read(part: TenantPart, blocks: readonly SegmentBlock[]): ReturnType<typeof readBlocks> {
    return readBlocks(this.#store, part, blocks, { signal: this.#signal });
  }
}

function isRowChange(line: LoggedTableLine): line is LoggedTableChange {
  return line.change.op !== "altered";
}

interface BlockTexts {
  readonly texts: Map<SegmentBlock, Buffer>;
  bytes: number;
}

function stretchesOf({ key, index }: Segment, tenantKey: string): Stretch[] {
  const blocks = index.blocks.filter(({ tenant }) => tenant === null || tenant === tenantKey);
  const part = { key, blocks, rawBytes: sumOf(blocks) };
  const byRelation = Map.groupBy(blocks, ({ relation }) => relation);
  // A table's definitions are listed in the order in which they came.
  return [...byRelation.keys()]
    .toSorted((a, b) => a - b)
    .flatMap((position) => {
      const relation = index.relations[position];
      const [own, shared] = [false, true].map((isShared) =>
        (byRelation.get(position) ?? []).filter(({ tenant }) => (tenant === null) === isShared),
      );
      return relation === undefined ? [] : [{ part, relation, own: own ?? [], shared: shared ?? [] }];
    });
}

function sumOf(blocks: readonly SegmentBlock[]): number {
  return blocks.reduce((sum, block) => sum + block.rawBytes, 0);
}

/** Does the work for the next few while the first is used; results come in order. */
async function* ahead<T, U>(items: AsyncIterable<T> | Iterable<T>, work: (item: T) => Promise<U>): AsyncGenerator<U> {
  const begun: Promise<U>[] = [];
  try {
    for await (const item of items) {
      const next = work(item);
      next.catch(() => {});
      begun.push(next);
      const first = begun.length >= INDEXES_AT_ONCE ? begun.shift() : undefined;
      if (first !== undefined) yield await first;
    }
    for (let first = begun.shift(); first !== undefined; first = begun.shift()) yield await first;
  } finally {
    await Promise.allSettled(begun);
  }
}
