import xxhash from "xxhash-wasm";
import type { Fingerprint } from "../archive/manifest.ts";

const { h64Raw } = await xxhash();

const TAB = 0x09;
const MINIMUM_BITS = 8;
/** 2^20 buckets are 8 MiB a side, whatever the table's size: beyond some 10 million rows buckets hold more rows, memory does not grow. */
const MAXIMUM_BITS = 20;

/**
 * The rows of one table, summed up in buckets by the hash of their key (without a key: of the whole row). Two sides that agree in
 * a bucket hold the same rows there, with the certainty of a fingerprint; so only the rows of the buckets that differ have to be
 * looked at one by one. A row whose text changed is always in a differing bucket, on both sides.
 */
export class RowBuckets {
  readonly #key: readonly number[] | null;
  readonly #mask: number;
  readonly #low: Uint32Array;
  readonly #high: Uint32Array;
  #rows = 0;
  #sum = 0n;

  /** `key`: positions of the key's fields in a row, in key order. `expectedRows` sets how many buckets there are: both sides must agree. */
  constructor(key: readonly number[] | null, expectedRows: number) {
    const bits = Math.min(MAXIMUM_BITS, Math.max(MINIMUM_BITS, Math.ceil(Math.log2(expectedRows + 1))));
    this.#key = key;
    this.#mask = 2 ** bits - 1;
    this.#low = new Uint32Array(2 ** bits);
    this.#high = new Uint32Array(2 ** bits);
  }

  /** One row's COPY text without its newline. */
  add(row: Uint8Array): void {
    const hash = h64Raw(row);
    const low = Number(hash & 0xffff_ffffn);
    const bucket = this.#key === null ? low & this.#mask : keyHash(row, this.#key) & this.#mask;
    // The halves wrap around separately, which makes two 32-bit sums of one 64-bit hash: as hard to fool, and no BigInt arrays.
    this.#low[bucket] = (this.#low[bucket] ?? 0) + low;
    this.#high[bucket] = (this.#high[bucket] ?? 0) + Number(hash >> 32n);
    this.#rows += 1;
    this.#sum += hash;
  }

  /** Of all rows together. */
  fingerprint(): Fingerprint {
    return { rows: this.#rows, sum: BigInt.asUintN(64, this.#sum).toString(16).padStart(16, "0") };
  }

  /** The buckets in which the two sides hold different rows. */
  differing(other: RowBuckets): DifferingBuckets {
    if (other.#mask !== this.#mask) throw new RangeError("buckets of different numbers can't be compared");
    const differs = new Uint8Array(this.#mask + 1);
    for (let bucket = 0; bucket <= this.#mask; bucket += 1) {
      if (this.#low[bucket] !== other.#low[bucket] || this.#high[bucket] !== other.#high[bucket]) differs[bucket] = 1;
    }
    return new DifferingBuckets(differs);
  }
}

export class DifferingBuckets {
  readonly #differs: Uint8Array;

  constructor(differs: Uint8Array) {
    this.#differs = differs;
  }

  /** Whether a row is in one of them; `key` as in the constructor of RowBuckets, or null for a whole row. */
  has(row: Uint8Array, key: readonly number[] | null): boolean {
    const hash = key === null ? Number(h64Raw(row) & 0xffff_ffffn) : keyHash(row, key);
    return this.#differs[hash & (this.#differs.length - 1)] === 1;
  }

  get count(): number {
    return this.#differs.reduce((sum, differs) => sum + differs, 0);
  }
}

/** FNV-1a over the key's fields (http://www.isthe.com/chongo/tech/comp/fnv/), with murmur3's last steps so that the low bits are good too. */
function keyHash(row: Uint8Array, key: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (const position of key) {
    let at = 0;
    for (let skip = position; skip > 0; skip -= 1) at = row.indexOf(TAB, at) + 1;
    for (let byte = row[at]; byte !== undefined && byte !== TAB; byte = row[at]) {
      hash = Math.imul(hash ^ byte, 0x01000193);
      at += 1;
    }
    hash = Math.imul(hash ^ TAB, 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The bytes of the key's fields, as text with tabs between them. */
export function keyText(row: Uint8Array, key: readonly number[]): string {
  const fields = Buffer.from(row.buffer, row.byteOffset, row.byteLength).toString("utf8").split("\t");
  return key.map((position) => fields[position] ?? "").join("\t");
}
