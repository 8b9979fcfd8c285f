import type { ObjectStore } from "@rowback/storage";
import { type TableName, tableLabel } from "../../postgres/tenancy.ts";
import type { Relation, SegmentBlock } from "../log/segment-index.ts";
import { openSegment, readBlocks, type Segment } from "../log/segment-reader.ts";
import { type ChangeSpan, parseLsn, type Transaction } from "./change-span.ts";
import { LineReader, type LoggedChange, type LoggedRowChange } from "./logged-lines.ts";
import { compareChanges, mergeBatches } from "./merge-changes.ts";

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
  /** False, of an alteration alone: it is not known whether it was before the moment. */
  readonly included: boolean;
}

/** Two commit LSNs, and what lies between them. */
export interface Extent {
  readonly first: string;
  readonly last: string;
}

/** Changes of one tenant, table by table: a part of the change log, or what backups carry of it. */
export interface TableChanges {
  /** Tables that the tenant's blocks, or the shared part, speak of. Whether a change of them belongs to the moment is not known yet. */
  readonly tables: readonly TableName[];
  /** Bytes of lines of this table, changes outside of the span included. */
  rawBytes(label: string): number;
  /** The commit LSNs between which the changes of this table lie; null: there are none. */
  extent(label: string): Extent | null;
  /** What is said of a table and belongs to the span, or may belong to it, in commit order, in batches. */
  lines(label: string): AsyncIterable<LoggedTableLine[]>;
}

/** The changes of rows among the lines of a table. */
export async function* changesOf(log: TableChanges, label: string): AsyncGenerator<LoggedTableChange[]> {
  for await (const lines of log.lines(label)) {
    const batch = lines.filter(isRowChange);
    if (batch.length > 0) yield batch;
  }
}

/** What several logs that are read together share. */
export interface SharedReading {
  /** Block text that was read and may be wanted again. */
  readonly texts: Map<SegmentBlock, Buffer>;
  /** Of these texts. */
  bytes: number;
  /** Segments repeat what they know of a table; equal definitions are one. By their JSON. */
  readonly relations: Map<string, Relation>;
}

export function sharedReading(): SharedReading {
  return { texts: new Map(), bytes: 0, relations: new Map() };
}

export interface OpenLogOptions {
  readonly tenantKey: string;
  readonly span: ChangeSpan;
  /** Its own unless given. */
  readonly shared?: SharedReading | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One tenant's part of a source's change log, between a base and a moment. Holds where the blocks are, and the text of the first few. */
export class MomentLog implements TableChanges {
  readonly span: ChangeSpan;
  readonly #store: ObjectStore;
  readonly #tables: ReadonlyMap<string, readonly Stretch[]>;
  readonly #signal: AbortSignal | undefined;
  readonly #shared: SharedReading;

  private constructor(
    store: ObjectStore,
    tables: ReadonlyMap<string, readonly Stretch[]>,
    shared: SharedReading,
    options: Pick<OpenLogOptions, "span" | "signal">,
  ) {
    this.span = options.span;
    this.#store = store;
    this.#tables = tables;
    this.#shared = shared;
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
    const { tenantKey, signal, shared = sharedReading() } = options;
    const { relations } = shared;
    const tables = new Map<string, Stretch[]>();
    const open = ({ key, bytes }: SegmentPlace): Promise<Segment> =>
      openSegment(store, key, bytes, { signal, tenantKey });
    for await (const segment of ahead(segments, open)) {
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
    return new MomentLog(store, tables, shared, options);
  }

  /** The same log over another span. */
  within(span: ChangeSpan): MomentLog {
    return new MomentLog(this.#store, this.#tables, this.#shared, { span, signal: this.#signal });
  }

  get tables(): readonly TableName[] {
    return [...this.#tables.values()].flatMap((stretches) =>
      stretches.slice(0, 1).map(({ relation }) => relation.table),
    );
  }

  rawBytes(label: string): number {
    return sumOf(this.#blocks(label));
  }

  extent(label: string): Extent | null {
    return extentOf(this.#blocks(label));
  }

  /** What two segments hold (a reader may be given a merged one and what it was merged of) comes once. */
  async *lines(label: string): AsyncGenerator<LoggedTableLine[]> {
    let last: { readonly lsn: bigint; readonly seq: number } = { lsn: -1n, seq: -1 };
    for (const stretch of this.#tables.get(label) ?? []) {
      const before = last;
      const streams = [this.#placed(stretch, true), this.#placed(stretch, false)];
      for await (const merged of mergeBatches(streams, compareChanges)) {
        const batch: LoggedTableLine[] = [];
        for (const line of merged) {
          const { transaction, seq } = line.change;
          const { lsn } = transaction;
          if (lsn < before.lsn || (lsn === before.lsn && seq <= before.seq)) continue;
          last = { lsn, seq };
          batch.push(line);
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

  #blocks(label: string): SegmentBlock[] {
    return (this.#tables.get(label) ?? []).flatMap(({ own, shared }) => [...own, ...shared]);
  }

  async *#placed(stretch: Stretch, shared: boolean): AsyncGenerator<LoggedTableLine[]> {
    const { relation } = stretch;
    for await (const changes of this.#lines(stretch, shared ? stretch.shared : stretch.own)) {
      const lines: LoggedTableLine[] = [];
      for (const change of changes) {
        const included = this.span.includes(change.transaction);
        if (included || this.#isUnsure(change)) lines.push({ change, relation, shared, included });
      }
      yield lines;
    }
  }

  #isUnsure({ op, row, transaction }: LoggedChange): boolean {
    if (op !== "altered") return false;
    const [lsn = "", at = ""] = row;
    return this.span.isBetween({ lsn: parseLsn(lsn), at: BigInt(at) }, transaction);
  }

  async *#lines({ part }: Stretch, blocks: readonly SegmentBlock[]): AsyncGenerator<LoggedChange[]> {
    const lines = new LineReader();
    for await (const text of this.#texts(part, blocks)) yield lines.read(text);
  }

  async *#texts(part: TenantPart, blocks: readonly SegmentBlock[]): AsyncGenerator<Buffer> {
    const { texts, bytes } = this.#shared;
    const isKept = blocks.every((block) => texts.has(block));
    if (!isKept && part.rawBytes <= FETCHED_TOGETHER_BYTES && bytes + part.rawBytes <= KEPT_BYTES) {
      for await (const { block, text } of this.#read(part, part.blocks)) texts.set(block, text);
      this.#shared.bytes += part.rawBytes;
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

/** From the first of the first to the last of the last; null: there is none. */
export function extentOf(extents: readonly Extent[]): Extent | null {
  const [first] = extents.map((extent) => extent.first).toSorted();
  const last = extents
    .map((extent) => extent.last)
    .toSorted()
    .at(-1);
  return first === undefined || last === undefined ? null : { first, last };
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
