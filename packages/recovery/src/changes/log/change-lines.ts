import { RecoveryError } from "../../errors.ts";
import type { Relation, Transaction } from "./segment-index.ts";

/** What happened to a row, to all rows, or to their columns; the old row of an update comes as a line of its own before it. */
export type ChangeOp = "I" | "O" | "U" | "D" | "M" | "X" | "A";

/** One row change, or a part of one. */
export interface Change {
  /** The tenant's key; null for the shared part. */
  readonly tenant: string | null;
  /** The same object for every line of a table while its schema stays the same. */
  readonly relation: Relation;
  readonly transaction: Transaction;
  readonly op: ChangeOp;
  readonly seq: number;
  /** Escaped fields between tabs, without a newline. Copied at once. */
  readonly row: Uint8Array;
  /** `M` alone. */
  readonly movedTo?: string;
}

/** One line of a block, read (docs/CHANGE-LOG.md, "Lines"). */
export interface ChangeLine {
  readonly op: ChangeOp;
  readonly transaction: Transaction;
  /** The place among the changes of its transaction, over all tables and tenants. */
  readonly seq: number;
  /** `M` alone: the tenant that the row belongs to now. */
  readonly tenant: string | null;
  /** Escaped fields between tabs, without the newline; empty for `X`; of `A` its place. A view into the block's text. */
  readonly row: Buffer;
}

/** A field for SQL NULL, and one for a value that the WAL did not carry. */
export const NULL_FIELD = "\\N";
export const UNKNOWN_FIELD = "\\U";

const TAB = 0x09;
const NEWLINE = 0x0a;
const OPS: ReadonlySet<string> = new Set<ChangeOp>(["I", "O", "U", "D", "M", "X", "A"]);

/** Whether a line stands for a change of rows by itself. */
export function isRowChange(op: ChangeOp): boolean {
  return op !== "O" && op !== "A";
}

export function transactionLine({ lsn, xid, at }: Transaction): string {
  return `T\t${lsn}\t${xid}\t${at}\n`;
}

/** What stands before the row in its line. `tenant` is for `M`, and only for it. */
export function lineHead(op: ChangeOp, seq: number, tenant: string | null): string {
  if (op === "X") return `X\t${seq}`;
  return op === "M" ? `M\t${seq}\t${escapeField(tenant ?? "")}\t` : `${op}\t${seq}\t`;
}

/** A row's fields, as they stand: escaped. */
export function rowFields(row: Buffer): string[] {
  return row.toString("utf8").split("\t");
}

/** COPY's text for a value (PostgreSQL manual, COPY, "Text Format"). */
export function escapeField(value: string | null): string {
  if (value === null) return NULL_FIELD;
  return value.replaceAll(/[\\\b\f\n\r\t\v]/g, (character) => ESCAPES[character] ?? character);
}

/** The value behind COPY's text; null for NULL. Not for `UNKNOWN_FIELD`. */
export function unescapeField(field: string): string | null {
  if (field === NULL_FIELD) return null;
  return field.replaceAll(/\\(.)/g, (_, letter: string) => UNESCAPES[letter] ?? letter);
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
};
const UNESCAPES: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" };

/** The lines of one block. @throws RecoveryError `change_log_damaged` on a line that no writer makes */
export function* parseLines(text: Buffer): Generator<ChangeLine> {
  let transaction: Transaction | null = null;
  for (let at = 0; at < text.length; ) {
    const newline = text.indexOf(NEWLINE, at);
    if (newline === -1) throw damagedLine("it does not end");
    if (text[at] === 0x54 /* T */) transaction = parseTransaction(text.toString("latin1", at, newline));
    else if (transaction === null) throw damagedLine("no transaction stands before it");
    else yield parseChange(text.subarray(at, newline), transaction);
    at = newline + 1;
  }
}

function parseTransaction(line: string): Transaction {
  const [, lsn, xid, at] = line.split("\t");
  if (lsn === undefined || xid === undefined || at === undefined) throw damagedLine("a transaction has three fields");
  return { lsn, xid, at };
}

function parseChange(line: Buffer, transaction: Transaction): ChangeLine {
  const op = line.toString("latin1", 0, 1);
  if (!isOp(op) || (line[1] !== TAB && line.length > 1)) throw damagedLine("it has no known name");
  const seqEnd = endOfField(line, 2);
  const seq = Number(line.toString("latin1", 2, seqEnd));
  if (!Number.isSafeInteger(seq)) throw damagedLine("its number is none");
  const tenantEnd = op === "M" ? endOfField(line, seqEnd + 1) : seqEnd;
  const tenant = op === "M" ? unescapeField(line.toString("utf8", seqEnd + 1, tenantEnd)) : null;
  return { op, transaction, seq, tenant, row: line.subarray(tenantEnd + 1) };
}

function endOfField(line: Buffer, from: number): number {
  const tab = line.indexOf(TAB, from);
  return tab === -1 ? line.length : tab;
}

function isOp(text: string): text is ChangeOp {
  return OPS.has(text);
}

function damagedLine(how: string): RecoveryError {
  return new RecoveryError("change_log_damaged", `A line of the change log can't be read: ${how}`);
}
