import { parseLines } from "../log/change-lines.ts";
import type { Transaction as IndexedTransaction } from "../log/segment-index.ts";
import { parseLsn, type Transaction } from "./change-span.ts";

/** One change as it stands in a block, its rows over the columns that the block's relation had. Texts hold one character per byte. */
export interface LoggedChange {
  readonly op: "insert" | "update" | "delete" | "moved" | "truncate" | "altered";
  readonly transaction: Transaction;
  readonly seq: number;
  /** Of a table that was altered: the commit LSN and the time up to which it certainly was not. */
  readonly row: readonly string[];
  /** Of an update: the row before, or its identity, where the WAL has it. */
  readonly old: readonly string[] | null;
  /** Of a move: the key of the tenant that has the row now. */
  readonly tenant: string | null;
}

const OPS = { I: "insert", U: "update", D: "delete", M: "moved", X: "truncate", A: "altered" } as const;

/** A change of rows. */
export type LoggedRowChange = LoggedChange & { readonly op: Exclude<LoggedChange["op"], "altered"> };

/** Reads the lines of one tenant's (or the shared) blocks of one relation, block after block: an old row and its update may be in two. */
export class LineReader {
  #written: IndexedTransaction | null = null;
  #transaction: Transaction = { lsn: 0n, xid: 0n, at: 0n };
  #old: readonly string[] | null = null;

  /** The changes of the next block. @throws RecoveryError `change_log_damaged` for what is no line */
  read(text: Buffer): LoggedChange[] {
    const changes: LoggedChange[] = [];
    for (const { op, transaction, seq, tenant, row } of parseLines(text)) {
      if (transaction !== this.#written) {
        this.#written = transaction;
        this.#transaction = numbersOf(transaction);
      }
      const fields = op === "X" ? [] : row.toString("latin1").split("\t");
      if (op === "O") {
        this.#old = fields;
        continue;
      }
      const old = op === "U" ? this.#old : null;
      this.#old = null;
      changes.push({ op: OPS[op], transaction: this.#transaction, seq, row: fields, old, tenant });
    }
    return changes;
  }
}

function numbersOf({ lsn, xid, at }: IndexedTransaction): Transaction {
  return { lsn: parseLsn(lsn), xid: BigInt(xid), at: BigInt(at) };
}
