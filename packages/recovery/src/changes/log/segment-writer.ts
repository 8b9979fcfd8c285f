import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import type { ObjectStore } from "@rowback/storage";
import { compressBlock } from "../../archive/block.ts";
import { BlockLines } from "./block-lines.ts";
import { type Change, isRowChange } from "./change-lines.ts";
import {
  CHANGE_LOG_VERSION,
  type Relation,
  type SegmentBlock,
  type SegmentIndex,
  TRAILER_BYTES,
  TRAILER_MAGIC,
  type Transaction,
} from "./segment-index.ts";
import { segmentKey } from "./segment-keys.ts";

/** Blocks that may be compressing while an earlier one is stored. */
const AHEAD = 4;

export interface SegmentStart {
  readonly sourceId: string;
  readonly epoch: number;
  readonly piece: number;
  /** The first transaction began in an earlier segment. */
  readonly continued: boolean;
}

export interface WrittenSegment {
  readonly key: string;
  /** Stored bytes. */
  readonly bytes: number;
  /** Of the stored object. */
  readonly sha256: string;
  readonly index: SegmentIndex;
}

/**
 * Gathers changes in memory, by tenant and relation, and stores them as one segment. Of each tenant and relation, transactions come in commit
 * order, and the changes of each in the order of their `seq`. Of no use after `put`.
 */
export class SegmentWriter {
  readonly #start: SegmentStart;
  /** By relation, then by tenant ("" stands for nobody: no key is empty). */
  readonly #lines = new Map<Relation, Map<string, BlockLines>>();
  #first: Transaction | null = null;
  #last: Transaction | null = null;
  /** Of the change that was added last. */
  #current: string | null = null;
  #maxXid = 0n;
  readonly #transactions = new Set<string>();
  #changes = 0;
  #alterations = 0;
  #rawBytes = 0;

  constructor(start: SegmentStart) {
    this.#start = start;
  }

  /** Bytes of lines so far: what the segment takes in memory, about. */
  get rawBytes(): number {
    return this.#rawBytes;
  }

  get isEmpty(): boolean {
    return this.#first === null;
  }

  add(change: Change): void {
    const { transaction } = change;
    if (this.#current !== transaction.lsn) this.#enter(transaction);
    const lines = this.#linesOf(change.relation, change.tenant ?? "");
    this.#rawBytes += lines.add(change);
    if (isRowChange(change.op)) this.#changes += 1;
    if (change.op === "A") this.#alterations += 1;
  }

  /**
   * Stores the segment; durable when it resolves. With `continues` its last transaction goes on in the next one; `key` is where, unless that
   * is its place in the source's log.
   * @throws StorageError; the signal's reason
   */
  async put(
    store: ObjectStore,
    options: { readonly continues: boolean; readonly key?: string; readonly signal?: AbortSignal | undefined },
  ): Promise<WrittenSegment> {
    const [first, last] = [this.#first, this.#last];
    if (first === null || last === null) throw new RangeError("An empty segment is not stored");
    const { sourceId, epoch, piece, continued } = this.#start;
    const relations = [...this.#lines.keys()];
    const blocks: SegmentBlock[] = [];
    const index = (): SegmentIndex => ({
      format: "rowback-changes",
      version: CHANGE_LOG_VERSION,
      sourceId,
      epoch,
      piece,
      first,
      last,
      maxXid: this.#maxXid.toString(),
      continued,
      continues: options.continues,
      transactions: this.#transactions.size,
      changes: this.#changes,
      alterations: this.#alterations,
      rawBytes: this.#rawBytes,
      relations,
      blocks,
    });
    const key = options.key ?? segmentKey({ sourceId, epoch, first: first.lsn, last: last.lsn, piece });
    const { bytes, sha256 } = await store.put(key, this.#body(blocks, index), { signal: options.signal });
    return { key, bytes, sha256, index: index() };
  }

  #enter(transaction: Transaction): void {
    this.#current = transaction.lsn;
    if (this.#first === null || transaction.lsn < this.#first.lsn) this.#first = transaction;
    if (this.#last === null || transaction.lsn > this.#last.lsn) this.#last = transaction;
    this.#transactions.add(transaction.lsn);
    const xid = BigInt(transaction.xid);
    if (xid > this.#maxXid) this.#maxXid = xid;
  }

  #linesOf(relation: Relation, tenant: string): BlockLines {
    let tenants = this.#lines.get(relation);
    if (tenants === undefined) {
      tenants = new Map();
      this.#lines.set(relation, tenants);
    }
    let lines = tenants.get(tenant);
    if (lines === undefined) {
      lines = new BlockLines();
      tenants.set(tenant, lines);
    }
    return lines;
  }

  async *#body(blocks: SegmentBlock[], index: () => SegmentIndex): AsyncGenerator<Uint8Array> {
    let offset = 0;
    for await (const { stored, ...block } of ahead(AHEAD, this.#compressed())) {
      const digest = createHash("sha256").update(stored).digest("hex").slice(0, 32);
      blocks.push({ ...block, offset, bytes: stored.length, digest });
      offset += stored.length;
      yield stored;
    }
    const packed = gzipSync(JSON.stringify(index()));
    yield packed;
    yield trailer(packed);
  }

  /** Blocks in the order of the format: by tenant, nobody's first, then by relation, then in commit order. */
  *#compressed(): Generator<Promise<Omit<SegmentBlock, "offset" | "bytes" | "digest"> & { readonly stored: Buffer }>> {
    const order = [...this.#lines.values()].flatMap((tenants, relation) =>
      [...tenants].map(([tenant, lines]) => ({ tenant: Buffer.from(tenant), name: tenant || null, relation, lines })),
    );
    order.sort((a, b) => Buffer.compare(a.tenant, b.tenant) || a.relation - b.relation);
    for (const { name, relation, lines } of order) {
      for (const { text, ...counts } of lines.blocks()) {
        yield compressBlock(text).then((stored) => ({ tenant: name, relation, ...counts, stored }));
      }
    }
  }
}

/** The same results in the same order, with up to `count` of them being made at once. */
async function* ahead<T>(count: number, making: Iterable<Promise<T>>): AsyncGenerator<T> {
  const begun: Promise<T>[] = [];
  for (const promise of making) {
    promise.catch(() => {});
    begun.push(promise);
    const next = begun.length >= count ? begun.shift() : undefined;
    if (next !== undefined) yield await next;
  }
  for (const promise of begun) yield await promise;
}

function trailer(packedIndex: Buffer): Buffer {
  const bytes = Buffer.alloc(TRAILER_BYTES);
  bytes.write(TRAILER_MAGIC, "latin1");
  bytes.writeBigUInt64BE(BigInt(packedIndex.length), 8);
  createHash("sha256").update(packedIndex).digest().copy(bytes, 16);
  return bytes;
}
