import xxhash from "xxhash-wasm";
import type { Fingerprint } from "./manifest.ts";
import { giveCounter, INPUT_BYTES, type RowEngine, takeCounter } from "./row-engine.ts";

const { h64Raw, create64 } = await xxhash();

/** Hashes one row that is too long for a row engine, piece by piece. */
export interface LongRowHash {
  update(piece: Uint8Array): unknown;
  digest(): bigint;
}

export function hashLongRow(): LongRowHash {
  return create64();
}

/** The fingerprint of no rows. */
export const NO_ROWS: Fingerprint = { rows: 0, sum: "0000000000000000" };

/**
 * Sums the hashes of rows as they pass (docs/FORMAT.md, "Fingerprint"). Give it whole rows, or COPY text in chunks cut
 * anywhere; its memory does not grow with the rows, nor with the length of one row.
 */
export class FingerprintSum {
  #rows = 0;
  #sum = 0n;
  #engine: RowEngine | null = null;
  /** Bytes at the start of the engine's input that belong to a row whose newline has not passed. */
  #held = 0;
  /** Such a row that outgrew the input. */
  #longRow: LongRowHash | null = null;

  /** Rows so far, whole ones. */
  get rows(): number {
    return this.#rows;
  }

  /** One row's COPY text without its newline. */
  addRow(row: Uint8Array): void {
    this.#count(h64Raw(row));
  }

  /** The next bytes of a COPY text stream; rows may begin and end anywhere in it. */
  addText(text: Uint8Array): void {
    let rest = this.#longRow === null ? text : this.#endLongRow(this.#longRow, text);
    this.#engine ??= takeCounter();
    while (rest.length > 0) {
      const taken = Math.min(rest.length, INPUT_BYTES - this.#held);
      this.#engine.input.set(rest.subarray(0, taken), this.#held);
      rest = rest.subarray(taken);
      const end = this.#held + taken;
      const counted = this.#engine.countRows(end);
      this.#rows += this.#engine.takeRowCount();
      this.#engine.input.copyWithin(0, counted, end);
      this.#held = end - counted;
      if (this.#held === INPUT_BYTES) {
        this.#longRow = hashLongRow();
        this.#longRow.update(this.#engine.input);
        this.#held = 0;
        rest = this.#endLongRow(this.#longRow, rest);
      }
    }
  }

  /** Rows that came through elsewhere. */
  add(other: Fingerprint): void {
    this.#rows += other.rows;
    this.#sum += toSum(other);
  }

  /** Rows that are gone. */
  subtract(other: Fingerprint): void {
    this.#rows -= other.rows;
    this.#sum -= toSum(other);
  }

  /** @throws RangeError if text ended inside a row, or more rows were subtracted than added: a defect of the caller. */
  result(): Fingerprint {
    if (this.#held > 0 || this.#longRow !== null) throw new RangeError("COPY text ended inside a row");
    if (this.#rows < 0) throw new RangeError("more rows subtracted than there were");
    if (this.#engine !== null) {
      this.#sum += this.#engine.sum;
      giveCounter(this.#engine);
      this.#engine = null;
    }
    return fingerprintOf(this.#rows, this.#sum);
  }

  /** What of `text` comes after the long row's newline; all of it belongs to the row while there is none. */
  #endLongRow(row: LongRowHash, text: Uint8Array): Uint8Array {
    const newline = text.indexOf(0x0a);
    row.update(newline === -1 ? text : text.subarray(0, newline));
    if (newline === -1) return text.subarray(text.length);
    this.#count(row.digest());
    this.#longRow = null;
    return text.subarray(newline + 1);
  }

  #count(hash: bigint): void {
    this.#rows += 1;
    this.#sum += hash;
  }
}

/** The written form of a count and a sum; the sum is taken modulo 2^64. */
export function fingerprintOf(rows: number, sum: bigint): Fingerprint {
  return { rows, sum: BigInt.asUintN(64, sum).toString(16).padStart(16, "0") };
}

/** The fingerprint of all COPY text of a stream. */
export async function fingerprintOfCopyStream(stream: AsyncIterable<Uint8Array>): Promise<Fingerprint> {
  const sum = new FingerprintSum();
  for await (const chunk of stream) sum.addText(chunk);
  return sum.result();
}

/** Rows of both. */
export function addFingerprints(a: Fingerprint, b: Fingerprint): Fingerprint {
  const sum = new FingerprintSum();
  sum.add(a);
  sum.add(b);
  return sum.result();
}

/** The rows of `from` without those of `gone`. @throws RangeError if `gone` has more rows. */
export function subtractFingerprints(from: Fingerprint, gone: Fingerprint): Fingerprint {
  const sum = new FingerprintSum();
  sum.add(from);
  sum.subtract(gone);
  return sum.result();
}

export function equalFingerprints(a: Fingerprint, b: Fingerprint): boolean {
  return a.rows === b.rows && a.sum === b.sum;
}

function toSum(fingerprint: Fingerprint): bigint {
  return BigInt(`0x${fingerprint.sum}`);
}
