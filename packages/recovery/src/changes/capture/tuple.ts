const TAB = 0x09;
const NULL_KIND = 0x6e; // n
const UNCHANGED_KIND = 0x75; // u
const TEXT_KIND = 0x74; // t
const BACKSLASH = 0x5c;

/** What stands behind a backslash for the bytes that COPY escapes; 0: the byte stands for itself. */
const ESCAPED = new Uint8Array(256);
for (const [byte, letter] of [
  [0x08, "b"],
  [0x09, "t"],
  [0x0a, "n"],
  [0x0b, "v"],
  [0x0c, "f"],
  [0x0d, "r"],
  [BACKSLASH, "\\"],
] as const)
  ESCAPED[byte] = letter.charCodeAt(0);

/** A column's value: its text, NULL, or nothing that this tuple knows (an unchanged TOASTed value, or a column outside the key). */
export type Value = string | null | undefined;

/**
 * One row in a message, not taken apart: a place in the message's bytes (PostgreSQL manual, "Logical Replication Message
 * Formats", TupleData). Good for as long as the message is.
 */
export class Tuple {
  /** Behind the count of columns. */
  readonly #bytes: Buffer;
  readonly #at: number;
  readonly #columns: number;
  /** The position behind it. */
  readonly end: number;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.#columns = bytes.readUInt16BE(at);
    this.#at = at + 2;
    this.end = this.#positionOf(this.#columns);
  }

  get columns(): number {
    return this.#columns;
  }

  /** The value of one column, counted from 0. */
  value(column: number): Value {
    const at = this.#positionOf(column);
    const kind = this.#bytes[at];
    if (kind === NULL_KIND) return null;
    if (kind !== TEXT_KIND) return undefined;
    return this.#bytes.toString("utf8", at + 5, at + 5 + this.#bytes.readUInt32BE(at + 1));
  }

  /**
   * Writes the row as a line of the change log has it: COPY's text of each column between tabs.
   * @param known per column, whether the tuple says anything of it (a key tuple gives NULL for all others); null: all
   * @param older where values come from that this tuple lacks
   */
  write(row: RowText, known: readonly boolean[] | null, older: Tuple | null): void {
    const bytes = this.#bytes;
    let at = this.#at;
    let olderAt = older === null ? 0 : older.#at;
    for (let column = 0; column < this.#columns; column += 1) {
      if (column > 0) row.byte(TAB);
      const kind = bytes[at];
      if (known !== null && known[column] !== true) row.unknown();
      else if (kind === TEXT_KIND) row.escaped(bytes, at + 5, at + 5 + readLength(bytes, at + 1));
      else if (kind === NULL_KIND) row.nothing();
      else if (older === null) row.unknown();
      else older.#writeValue(row, olderAt);
      at = next(bytes, at);
      if (older !== null) olderAt = next(older.#bytes, olderAt);
    }
  }

  #writeValue(row: RowText, at: number): void {
    const kind = this.#bytes[at];
    if (kind === TEXT_KIND) row.escaped(this.#bytes, at + 5, at + 5 + readLength(this.#bytes, at + 1));
    else if (kind === NULL_KIND) row.nothing();
    else row.unknown();
  }

  /** Whether a value is missing: an unchanged TOASTed one. */
  get isPartial(): boolean {
    let at = this.#at;
    for (let column = 0; column < this.#columns; column += 1) {
      if (this.#bytes[at] === UNCHANGED_KIND) return true;
      at = next(this.#bytes, at);
    }
    return false;
  }

  #positionOf(column: number): number {
    let at = this.#at;
    for (let passed = 0; passed < column; passed += 1) at = next(this.#bytes, at);
    return at;
  }
}

/** The position behind the value at `at`. @throws RangeError on a kind that protocol 1 without `binary` does not have */
function next(bytes: Buffer, at: number): number {
  const kind = bytes[at];
  if (kind === TEXT_KIND) return at + 5 + readLength(bytes, at + 1);
  if (kind === NULL_KIND || kind === UNCHANGED_KIND) return at + 1;
  throw new RangeError(`a tuple has a value of unknown kind ${kind}`);
}

function readLength(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at);
}

/** The text of a row, in a buffer that every row uses again: take what `bytes` gives before the next `clear`. */
export class RowText {
  #buffer = Buffer.allocUnsafe(4_096);
  #filled = 0;

  clear(): void {
    this.#filled = 0;
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#filled);
  }

  byte(byte: number): void {
    this.#reserve(1);
    this.#buffer[this.#filled++] = byte;
  }

  nothing(): void {
    this.#reserve(2);
    this.#buffer[this.#filled++] = BACKSLASH;
    this.#buffer[this.#filled++] = 0x4e; // N
  }

  unknown(): void {
    this.#reserve(2);
    this.#buffer[this.#filled++] = BACKSLASH;
    this.#buffer[this.#filled++] = 0x55; // U
  }

  escaped(source: Buffer, start: number, end: number): void {
    // Every byte may need a backslash.
    this.#reserve((end - start) * 2);
    const target = this.#buffer;
    let filled = this.#filled;
    for (let at = start; at < end; at += 1) {
      const byte = source[at] ?? 0;
      const letter = ESCAPED[byte] ?? 0;
      if (letter === 0) target[filled++] = byte;
      else {
        target[filled++] = BACKSLASH;
        target[filled++] = letter;
      }
    }
    this.#filled = filled;
  }

  #reserve(bytes: number): void {
    const needed = this.#filled + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#filled);
    this.#buffer = larger;
  }
}
