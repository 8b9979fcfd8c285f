import xxhash from "xxhash-wasm";
import type { Fingerprint } from "./manifest.ts";

const { h64Raw, create64 } = await xxhash();

const NEWLINE = 0x0a;

/** The fingerprint of no rows. */
export const NO_ROWS: Fingerprint = { rows: 0, sum: "0000000000000000" };

/**
 * Sums the hashes of rows as they pass (docs/FORMAT.md, "Fingerprint"). Give it whole rows, or COPY text in chunks cut
 * anywhere; its memory does not grow with the rows, nor with the length of one row.
 */
export class FingerprintSum {
  #rows = 0;
  #sum = 0n;
  /** The hash of a row whose beginning has passed and whose newline has not. */
  #open: ReturnType<typeof create64> | null = null;

  /** One row's COPY text without its newline. */
  addRow(row: Uint8Array): void {
    this.#rows += 1;
    this.#sum += h64Raw(row);
  }

  /** The next bytes of a COPY text stream; rows may begin and end anywhere in it. */
  addText(text: Uint8Array): void {
    let start = 0;
    for (let end = text.indexOf(NEWLINE); end !== -1; end = text.indexOf(NEWLINE, start)) {
      const row = text.subarray(start, end);
      if (this.#open === null) {
        this.addRow(row);
      } else {
        this.#rows += 1;
        this.#sum += this.#open.update(row).digest();
        this.#open = null;
      }
      start = end + 1;
    }
    if (start < text.length) {
      this.#open ??= create64();
      this.#open.update(text.subarray(start));
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
    if (this.#open !== null) throw new RangeError("COPY text ended inside a row");
    if (this.#rows < 0) throw new RangeError("more rows subtracted than there were");
    return { rows: this.#rows, sum: BigInt.asUintN(64, this.#sum).toString(16).padStart(16, "0") };
  }
}

/** Reads COPY text to its end. An abort ends the stream with the signal's reason. */
export async function fingerprintOfCopyStream(
  stream: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): Promise<Fingerprint> {
  const sum = new FingerprintSum();
  for await (const chunk of stream) {
    signal?.throwIfAborted();
    sum.addText(chunk);
  }
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
