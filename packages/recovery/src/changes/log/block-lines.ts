import { BLOCK_BYTES } from "../../archive/row-engine.ts";
import { type Change, isRowChange, lineHead, transactionLine } from "./change-lines.ts";

/** What a tenant with a single change takes; most of ten thousand idle-ish tenants never need more. */
const FIRST_BYTES = 512;
const NEWLINE = 0x0a;

/** The text of one block to be, and what the index says of it. */
export interface BlockText {
  readonly text: Buffer;
  readonly rawBytes: number;
  readonly changes: number;
  readonly first: string;
  readonly last: string;
}

interface OpenBlock {
  buffer: Buffer;
  filled: number;
  changes: number;
  readonly first: string;
  last: string;
}

/** The lines of one tenant and one relation, cut into blocks. Every block names its transactions by itself. */
export class BlockLines {
  readonly #blocks: OpenBlock[] = [];

  /** Adds a line. Returns how many bytes it took, a transaction's line included. */
  add(change: Change): number {
    const { transaction, op, seq, row } = change;
    const head = lineHead(op, seq, change.movedTo ?? null);
    const bytes = Buffer.byteLength(head) + row.length + 1;
    const open = this.#blocks.at(-1);
    const fits = open !== undefined && open.filled + bytes <= BLOCK_BYTES;
    const isNew = !fits || open.last !== transaction.lsn;
    const named = isNew ? transactionLine(transaction) : "";
    const block = fits ? open : this.#open(transaction.lsn);
    reserve(block, named.length + bytes);
    block.filled += block.buffer.write(named, block.filled, "latin1");
    block.filled += block.buffer.write(head, block.filled, "utf8");
    block.buffer.set(row, block.filled);
    block.filled += row.length;
    block.buffer[block.filled] = NEWLINE;
    block.filled += 1;
    block.last = transaction.lsn;
    if (isRowChange(op)) block.changes += 1;
    return named.length + bytes;
  }

  *blocks(): Generator<BlockText> {
    for (const { buffer, filled, changes, first, last } of this.#blocks) {
      yield { text: buffer.subarray(0, filled), rawBytes: filled, changes, first, last };
    }
  }

  #open(lsn: string): OpenBlock {
    const block = { buffer: Buffer.allocUnsafe(FIRST_BYTES), filled: 0, changes: 0, first: lsn, last: lsn };
    this.#blocks.push(block);
    return block;
  }
}

function reserve(block: OpenBlock, bytes: number): void {
  const needed = block.filled + bytes;
  if (needed <= block.buffer.length) return;
  const larger = Buffer.allocUnsafe(Math.max(needed, block.buffer.length * 2));
  block.buffer.copy(larger, 0, 0, block.filled);
  block.buffer = larger;
}
