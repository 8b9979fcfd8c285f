import { readFileSync } from "node:fs";
import type { Fingerprint } from "../archive/manifest.ts";
import { hashKey, hashRow } from "./row-hash.ts";

const PAGE = 65_536;
const NEWLINE = 0x0a;
/** What is looked at in one go; a row longer than this is hashed by JavaScript. */
const INPUT_BYTES = 4 * PAGE;
const KEYS_AT = 2 * INPUT_BYTES;
/** PostgreSQL allows 32 columns in an index. */
const KEYS_BYTES = PAGE;
const BUCKETS_AT = KEYS_AT + KEYS_BYTES;
const PLACE_BYTES = 12;

const MINIMUM_BITS = 8;
/** 2^20 buckets are 9 MiB a side, whatever the table's size: beyond some 10 million rows buckets hold more rows, memory does not grow. */
const MAXIMUM_BITS = 20;
/** 36 MiB of places; a tenant with more rows in one table is read once more instead. */
const MOST_PLACES = 3_000_000;

const compiled = new WebAssembly.Module(readFileSync(new URL("./row-sieve.wasm", import.meta.url)));

const GLOBALS = [
  "rows",
  "keys",
  "key_fields",
  "buckets",
  "marks",
  "mask",
  "places",
  "places_limit",
  "placed",
  "out",
] as const;
type Exports = {
  readonly [Name in (typeof GLOBALS)[number]]: WebAssembly.Global<"i32">;
} & {
  readonly sum: WebAssembly.Global<"i64">;
  add(at: number, end: number): number;
  sift(at: number, end: number): number;
};

export interface SieveOptions {
  /** Positions of the key's fields in a row, in key order; null: the whole row is its key. */
  readonly key: readonly number[] | null;
  /** Sets how many buckets there are: both sides of a comparison must expect the same. */
  readonly expectedRows: number;
  /** Rows begin with their ctid and a tab, which is no part of the row: remember where each is, if they are not too many. */
  readonly places?: boolean;
}

/** A row's place in its table's file. */
export interface Place {
  readonly block: number;
  readonly offset: number;
}

/** What is done with rows: those that end in the input's first `end` bytes (answers where the last one ended), and a long one. */
interface Step {
  rows(end: number): number;
  longRow(line: Uint8Array): void;
}

/**
 * The rows of one table, summed up in buckets by the hash of their key. Two sides that agree in a bucket hold the same rows
 * there, with the certainty of a fingerprint; so only the rows of the buckets that differ have to be looked at one by one. A row
 * whose text changed is always in a differing bucket, on both sides. Give it COPY text in chunks cut anywhere.
 */
export class RowSieve {
  readonly #key: readonly number[] | null;
  readonly #exports: Exports;
  readonly #memory: Uint8Array;
  readonly #buckets: BigUint64Array;
  readonly #marks: Uint8Array;
  readonly #mask: number;
  readonly #placesAt: number;
  readonly #leading: number;
  /** Bytes at the start of the input that belong to a row whose newline has not passed. */
  #held = 0;
  /** The pieces of such a row that outgrew the input. */
  #long: Uint8Array[] | null = null;
  #longRows = 0;
  #longSum = 0n;
  readonly #sum: Step = {
    rows: (end) => this.#exports.add(0, end),
    longRow: (line) => this.#addLong(line),
  };

  constructor({ key, expectedRows, places = false }: SieveOptions) {
    const bits = Math.min(MAXIMUM_BITS, Math.max(MINIMUM_BITS, Math.ceil(Math.log2(expectedRows + 1))));
    const buckets = 2 ** bits;
    const marksAt = BUCKETS_AT + 8 * buckets;
    const limit = places ? Math.min(MOST_PLACES, Math.ceil(expectedRows * 1.5) + 1000) : 0;
    this.#placesAt = Math.ceil((marksAt + buckets) / 8) * 8;
    const pages = Math.ceil((this.#placesAt + limit * PLACE_BYTES) / PAGE);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.#key = key;
    this.#mask = buckets - 1;
    this.#leading = places ? 1 : 0;
    this.#memory = new Uint8Array(memory.buffer);
    this.#buckets = new BigUint64Array(memory.buffer, BUCKETS_AT, buckets);
    this.#marks = new Uint8Array(memory.buffer, marksAt, buckets);
    this.#exports = instantiate(memory);
    new Uint32Array(memory.buffer, KEYS_AT, key?.length ?? 0).set(key ?? []);
    this.#exports.keys.value = KEYS_AT;
    this.#exports.key_fields.value = key?.length ?? 0;
    this.#exports.buckets.value = BUCKETS_AT;
    this.#exports.marks.value = marksAt;
    this.#exports.mask.value = this.#mask;
    this.#exports.places.value = this.#placesAt;
    this.#exports.places_limit.value = limit;
  }

  /** Sums up the next bytes of a COPY text stream: those of `text` in [from, to). */
  add(text: Buffer, from = 0, to: number = text.length): void {
    this.#feed(text, from, to, this.#sum);
  }

  /** The rows of marked buckets in the next bytes of a COPY text stream, as COPY text that is valid during the call. */
  sift(text: Buffer, kept: (rows: Uint8Array) => void): void {
    const pick: Step = {
      rows: (end) => {
        this.#exports.out.value = INPUT_BYTES;
        const ended = this.#exports.sift(0, end);
        const out = this.#exports.out.value;
        if (out > INPUT_BYTES) kept(this.#memory.subarray(INPUT_BYTES, out));
        return ended;
      },
      longRow: (line) => {
        if (this.isMarked(line.subarray(0, -1), this.#key)) kept(line);
      },
    };
    this.#feed(text, 0, text.length, pick);
    this.#drain(pick);
  }

  /** Rows summed up so far, whole ones. */
  get rows(): number {
    return (this.#exports.rows.value >>> 0) + this.#longRows;
  }

  /** Of all rows together. @throws RangeError if the text ended inside a row */
  fingerprint(): Fingerprint {
    this.#end();
    const sum = BigInt.asUintN(64, this.#exports.sum.value + this.#longSum);
    return { rows: this.rows, sum: sum.toString(16).padStart(16, "0") };
  }

  /** Marks, on both sides, the buckets in which they hold different rows; returns their number. */
  markDiffering(other: RowSieve): number {
    this.#end();
    other.#end();
    if (other.#mask !== this.#mask) throw new RangeError("sieves of different sizes can't be compared");
    let differing = 0;
    for (let bucket = 0; bucket <= this.#mask; bucket += 1) {
      const differs = this.#buckets[bucket] === other.#buckets[bucket] ? 0 : 1;
      this.#marks[bucket] = differs;
      other.#marks[bucket] = differs;
      differing += differs;
    }
    return differing;
  }

  /**
   * The places of the rows in marked buckets; null when they were not remembered, or not all of them. When there are more than
   * `most`, one more than that: enough to know.
   */
  markedPlaces(most: number = Number.POSITIVE_INFINITY): Place[] | null {
    this.#end();
    const placed = this.#exports.placed.value >>> 0;
    if (this.#leading === 0 || this.#longRows > 0 || placed > this.#exports.places_limit.value) return null;
    const entries = new Uint32Array(this.#memory.buffer, this.#placesAt, placed * 3);
    const places: Place[] = [];
    for (let at = 0; at < entries.length && places.length <= most; at += 3) {
      if (this.#marks[entries[at] ?? 0] !== 1) continue;
      places.push({ block: entries[at + 1] ?? 0, offset: entries[at + 2] ?? 0 });
    }
    return places;
  }

  /** Whether a row is in a marked bucket; `key` says where in this row the key's fields are. */
  isMarked(row: Uint8Array, key: readonly number[] | null): boolean {
    return this.#marks[this.#bucketOf(row, key)] === 1;
  }

  #feed(text: Buffer, from: number, to: number, step: Step): void {
    let at = from;
    while (at < to) {
      if (this.#long !== null) {
        at = this.#feedLong(this.#long, text, at, to, step);
        continue;
      }
      const taken = Math.min(to - at, INPUT_BYTES - this.#held);
      text.copy(this.#memory, this.#held, at, at + taken);
      this.#held += taken;
      at += taken;
      if (this.#held === INPUT_BYTES) this.#drain(step);
    }
  }

  /** Works off the rows in the input that are whole. A row that fills the input without an end is collected elsewhere. */
  #drain(step: Step): void {
    const ended = step.rows(this.#held);
    this.#memory.copyWithin(0, ended, this.#held);
    this.#held -= ended;
    if (this.#held < INPUT_BYTES) return;
    this.#long = [this.#memory.slice(0, INPUT_BYTES)];
    this.#held = 0;
  }

  #end(): void {
    this.#drain(this.#sum);
    if (this.#held > 0 || this.#long !== null) throw new RangeError("COPY text ended inside a row");
  }

  #feedLong(pieces: Uint8Array[], text: Buffer, from: number, to: number, step: Step): number {
    const newline = text.subarray(0, to).indexOf(NEWLINE, from);
    const end = newline === -1 ? to : newline + 1;
    pieces.push(Uint8Array.prototype.slice.call(text, from, end));
    if (newline !== -1) {
      this.#long = null;
      step.longRow(Buffer.concat(pieces));
    }
    return end;
  }

  #addLong(line: Uint8Array): void {
    const row = line.subarray(this.#leading === 0 ? 0 : line.indexOf(0x09) + 1, -1);
    const hash = hashRow(row);
    const bucket = this.#bucketOf(row, this.#key);
    this.#buckets[bucket] = BigInt.asUintN(64, (this.#buckets[bucket] ?? 0n) + hash);
    this.#longRows += 1;
    this.#longSum += hash;
  }

  #bucketOf(row: Uint8Array, key: readonly number[] | null): number {
    const hash = key === null ? Number(hashRow(row) & 0xffff_ffffn) : hashKey(row, key);
    return (hash & this.#mask) >>> 0;
  }
}

/** The one place where the binary's exports get their types; row-sieve.test.ts holds the binary to them. */
function instantiate(memory: WebAssembly.Memory): Exports {
  const { exports } = new WebAssembly.Instance(compiled, { host: { memory } });
  if (!isSieve(exports)) throw new TypeError("row-sieve.wasm does not export what row-sieve.ts expects");
  return exports;
}

function isSieve(exports: object): exports is Exports {
  return (
    [...GLOBALS, "sum"].every((name) => Reflect.get(exports, name) instanceof WebAssembly.Global) &&
    ["add", "sift"].every((name) => typeof Reflect.get(exports, name) === "function")
  );
}
