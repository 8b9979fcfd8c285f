import type { Gzip, ZstdCompress } from "node:zlib";
import type { StoredObject } from "@rowback/storage";
import { RecoveryError } from "../errors.ts";
import { type Compression, compressBlock, compressLongRow } from "./block.ts";
import { fingerprintOf, hashLongRow, type LongRowHash } from "./fingerprint.ts";
import type { Fingerprint, PartRange } from "./manifest.ts";
import type { PartSink } from "./part-sink.ts";
import { giveEngine, INPUT_BYTES, type RowEngine, takeEngine } from "./row-engine.ts";

/** The type byte of a CopyData message and its length. */
const MESSAGE_HEADER = 5;
const NEWLINE = 0x0a;

/** A part of several tables is closed at this size: whoever wants one of them must read, and hash, all of it. */
const SHARED_PART_BYTES = 8 * 1_048_576;
/** A part is closed in the middle of a table at this size: S3's multipart uploads end at 10,000 pieces of 5 MiB. */
const MOST_PART_BYTES = 4 * 1024 * 1_048_576;

/** What one table came to. */
export interface WrittenTable {
  readonly rawBytes: number;
  readonly fingerprint: Fingerprint;
  readonly ranges: readonly PartRange[];
}

/** How much of a chunk was taken: all of it, some (wait for `ready`, then `proceed`), or up to a message that is no CopyData. */
export type Taken = "all" | "busy" | "other_message";

type Step = "busy" | "other_message" | "more_input" | "again";

/** The backup that a lane writes into. */
export interface LaneBackup {
  readonly compression: Compression;
  /** The next part, and its number. */
  openPart(): { readonly number: number; readonly writer: PartSink };
  /** A part that is durable. */
  addPart(part: number, stored: StoredObject): void;
  /** Tells what is about to be stored. @throws RecoveryError `quota_exceeded` over the limit */
  claimBytes(bytes: number): void;
}

interface OpenTable {
  rows: number;
  rawBytes: number;
  /** Of the rows that were too long for the engine. */
  longSum: bigint;
  readonly ranges: { part: number; offset: number; bytes: number; rows: number; rawBytes: number }[];
  readonly onBlock: (rows: number, rawBytes: number) => void;
}

interface LongRow {
  left: number;
  readonly bytes: number;
  readonly hash: LongRowHash;
  readonly packed: Gzip | ZstdCompress;
}

/**
 * Turns the CopyData messages of one connection into blocks, and the blocks into parts, table after table.
 *
 * Rows are assembled in the engine's slots. A full slot is compressed while the next one fills; blocks are written in order, and a
 * slot is free again when its block was written, so whatever is slowest (pool, store) holds back the reading of the socket.
 */
export class LaneWriter {
  readonly #backup: LaneBackup;
  readonly #engine: RowEngine;
  readonly #free: number[];
  #slot: number;
  /** The slot's rows are being compressed, and no other slot is free. */
  #full = false;
  #table: OpenTable | null = null;
  #long: LongRow | null = null;
  #part: { readonly number: number; readonly writer: PartSink; readonly first: OpenTable } | null = null;
  /** The bytes of `engine.input` that have not been taken. */
  #at = 0;
  #end = 0;
  /** What of a chunk does not fit into `engine.input` yet. */
  #chunk: Uint8Array = new Uint8Array();
  /** Everything handed over so far, written in order. */
  #written: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | null = null;
  #wake: () => void = () => {};

  constructor(backup: LaneBackup) {
    this.#backup = backup;
    this.#engine = takeEngine();
    this.#free = this.#engine.slots.map((_, slot) => slot).reverse();
    this.#slot = this.#free.pop() ?? 0;
    this.#engine.useSlot(this.#slot);
  }

  /** `onBlock` hears the table's rows and bytes so far, with every block. */
  beginTable(onBlock: (rows: number, rawBytes: number) => void): void {
    this.#table = { rows: 0, rawBytes: 0, longSum: 0n, ranges: [], onBlock };
    this.#engine.reset();
  }

  /** The next bytes from the server; the chunk must not change until all of it was taken. */
  take(chunk: Uint8Array): Taken {
    this.#chunk = chunk;
    return this.proceed();
  }

  /** Goes on with what `take` left. @throws what made an earlier block fail */
  proceed(): Taken {
    for (;;) {
      if (this.#failure !== null) throw this.#failure.error;
      const stop = this.#long === null ? this.#takeRows() : this.#takeLongRow(this.#long);
      if (stop === "busy" || stop === "other_message") return stop;
      if (stop === "more_input") {
        if (this.#chunk.length === 0) return "all";
        this.#refill();
      }
    }
  }

  /** What was not taken when `other_message` was returned; it begins with that message. Taken from here, it is gone. */
  rest(): Buffer {
    const rest = Buffer.concat([this.#engine.input.subarray(this.#at, this.#end), this.#chunk]);
    this.#at = 0;
    this.#end = 0;
    this.#chunk = new Uint8Array();
    return rest;
  }

  /** Resolves when `proceed` can do something after `busy`. */
  ready(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /**
   * Ends the table; the next one may begin at once. `written` resolves when its blocks were handed to the store; they are durable
   * after `finish`.
   */
  endTable(): { readonly rows: number; readonly bytes: number; readonly written: Promise<WrittenTable> } {
    const table = this.#openTable();
    if (!this.#full && this.#engine.filled(this.#slot) > 0) this.#closeBlock(table);
    const fingerprint = fingerprintOf(table.rows, this.#engine.sum + table.longSum);
    this.#table = null;
    this.#then(async () => {
      if (this.#part !== null && this.#part.writer.bytes >= SHARED_PART_BYTES) await this.#closePart();
    });
    const written = this.#written.then(() => ({ rawBytes: table.rawBytes, fingerprint, ranges: table.ranges }));
    written.catch(() => {});
    return { rows: table.rows, bytes: table.rawBytes, written };
  }

  /** Ends the last part; everything is durable when this resolves. The lane is of no use afterwards. */
  async finish(): Promise<void> {
    await this.#written;
    // After a failure the pool may still be reading from a slot; then the engine is left to the garbage collector.
    giveEngine(this.#engine);
    await this.#closePart();
  }

  /** Gives up: nothing more is written. Resolves when compression and upload have let go of their memory. */
  async abort(error: unknown): Promise<void> {
    this.#fail(error);
    this.#long?.packed.destroy();
    await this.#part?.writer.abort(error);
    await this.#written.catch(() => {});
  }

  #takeRows(): Step {
    const table = this.#openTable();
    if (this.#full && !this.#nextSlot()) return "busy";
    const { at, stop } = this.#engine.take(this.#at, this.#end, this.#slot);
    this.#at = at;
    switch (stop) {
      case "input_used_up":
        return "more_input";
      case "other_message":
        return "other_message";
      case "row_without_newline":
        throw notCopyText();
      case "block_full":
        if (this.#engine.filled(this.#slot) > 0) this.#closeBlock(table);
        else this.#beginLongRow(table);
        return "again";
    }
  }

  /** Makes room in the input for the rest of the chunk. */
  #refill(): void {
    const { input } = this.#engine;
    input.copyWithin(0, this.#at, this.#end);
    this.#end -= this.#at;
    this.#at = 0;
    const next = this.#chunk.subarray(0, INPUT_BYTES - this.#end);
    input.set(next, this.#end);
    this.#end += next.length;
    this.#chunk = this.#chunk.subarray(next.length);
  }

  #closeBlock(table: OpenTable): void {
    const slot = this.#slot;
    const rawBytes = this.#engine.filled(slot);
    const rows = this.#engine.takeRowCount();
    table.rows += rows;
    table.rawBytes += rawBytes;
    const block = this.#engine.slots[slot]?.subarray(0, rawBytes) ?? new Uint8Array();
    const compressed = compressBlock(block, this.#backup.compression);
    compressed.catch(() => {});
    this.#then(async () => {
      await this.#write(await compressed, table, rows, rawBytes);
      await this.#closeLargePart(table);
      this.#free.push(slot);
      this.#wake();
    });
    this.#full = true;
    table.onBlock(table.rows, table.rawBytes);
  }

  #nextSlot(): boolean {
    const slot = this.#free.pop();
    if (slot === undefined) return false;
    this.#slot = slot;
    this.#engine.useSlot(slot);
    this.#full = false;
    return true;
  }

  #beginLongRow(table: OpenTable): void {
    const { input } = this.#engine;
    const bytes = Buffer.from(input.buffer, input.byteOffset + this.#at + 1, 4).readUInt32BE() - 4;
    const long = { left: bytes, bytes, hash: hashLongRow(), packed: compressLongRow(this.#backup.compression) };
    this.#at += MESSAGE_HEADER;
    this.#long = long;
    long.packed.on("drain", () => this.#wake());
    long.packed.on("error", (error) => this.#fail(error));
    this.#then(async () => {
      let first = true;
      for await (const piece of long.packed) {
        await this.#write(piece, table, first ? 1 : 0, first ? bytes : 0);
        first = false;
      }
      await this.#closeLargePart(table);
    });
  }

  #takeLongRow(long: LongRow): Step {
    if (long.packed.writableNeedDrain) return "busy";
    const piece = Buffer.from(this.#engine.input.slice(this.#at, Math.min(this.#end, this.#at + long.left)));
    if (piece.length === 0) return "more_input";
    this.#at += piece.length;
    long.left -= piece.length;
    long.packed.write(piece);
    long.hash.update(long.left === 0 ? piece.subarray(0, -1) : piece);
    if (long.left === 0) {
      if (piece.at(-1) !== NEWLINE) throw notCopyText();
      const table = this.#openTable();
      table.rows += 1;
      table.rawBytes += long.bytes;
      table.longSum += long.hash.digest();
      long.packed.end();
      this.#long = null;
      table.onBlock(table.rows, table.rawBytes);
    }
    return "again";
  }

  /** Does this after everything before it was written. The first failure stops all that follows. */
  #then(step: () => Promise<void>): void {
    this.#written = this.#written.then(step);
    this.#written.catch((error: unknown) => this.#fail(error));
  }

  async #write(piece: Uint8Array, table: OpenTable, rows: number, rawBytes: number): Promise<void> {
    if (this.#failure !== null) throw this.#failure.error;
    this.#part ??= { ...this.#backup.openPart(), first: table };
    const { number, writer } = this.#part;
    const range = table.ranges.at(-1);
    const bytes = writer.storedLength(piece.length);
    if (range?.part === number) {
      range.bytes += bytes;
      range.rows += rows;
      range.rawBytes += rawBytes;
    } else {
      table.ranges.push({ part: number, offset: writer.bytes, bytes, rows, rawBytes });
    }
    this.#backup.claimBytes(bytes);
    await writer.write(piece);
  }

  /** Between two blocks: large tables go on in parts of their own, and no part outgrows what a store takes. */
  async #closeLargePart(table: OpenTable): Promise<void> {
    if (this.#part === null) return;
    const most = this.#part.first === table ? MOST_PART_BYTES : SHARED_PART_BYTES;
    if (this.#part.writer.bytes >= most) await this.#closePart();
  }

  async #closePart(): Promise<void> {
    const part = this.#part;
    if (part === null) return;
    this.#backup.addPart(part.number, await part.writer.finish());
    this.#part = null;
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake();
  }

  #openTable(): OpenTable {
    if (this.#table === null) throw new RecoveryError("internal", "Rows arrived outside a table");
    return this.#table;
  }
}

function notCopyText(): RecoveryError {
  return new RecoveryError("source_error", "The source sent COPY data that does not end with a newline", {
    hint: "Connect to PostgreSQL directly, not through a proxy that changes COPY messages.",
  });
}
