import { Tuple } from "./tuple.ts";
import { microsFromServer } from "./wal-position.ts";

/** A column as a relation message tells it. */
export interface MessageColumn {
  readonly name: string;
  /** Part of the replica identity. */
  readonly key: boolean;
  readonly typeOid: number;
  readonly typeModifier: number;
}

/** A table's shape, sent before its first change and after each that may have altered it. */
export interface RelationMessage {
  readonly kind: "relation";
  /** The table's oid; of the partitioned table where the publication says so. */
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** `pg_class.relreplident`: d(efault), n(othing), f(ull), i(ndex). */
  readonly identity: "d" | "n" | "f" | "i";
  readonly columns: readonly MessageColumn[];
}

export interface OldTuple {
  /** The whole old row, or its key alone: then other columns are NULL without meaning it. */
  readonly complete: boolean;
  readonly tuple: Tuple;
}

/** One message of pgoutput, protocol 1 (PostgreSQL manual, "Logical Replication Message Formats"). LSNs and times as numbers. */
export type Message =
  | { readonly kind: "begin"; readonly lsn: bigint; readonly at: bigint; readonly xid: number }
  | { readonly kind: "commit"; readonly lsn: bigint; readonly endLsn: bigint; readonly at: bigint }
  | RelationMessage
  | { readonly kind: "insert"; readonly oid: number; readonly row: Tuple }
  | { readonly kind: "update"; readonly oid: number; readonly old: OldTuple | null; readonly row: Tuple }
  | { readonly kind: "delete"; readonly oid: number; readonly old: OldTuple }
  | { readonly kind: "truncate"; readonly oids: readonly number[] }
  /** `pg_logical_emit_message`; `lsn` is its own position. */
  | {
      readonly kind: "message";
      readonly transactional: boolean;
      readonly lsn: bigint;
      readonly prefix: string;
      readonly content: Buffer;
    }
  /** Types and origins: nothing that the change log needs. */
  | { readonly kind: "other" };

const OTHER = { kind: "other" } as const;

/**
 * Reads one message. Rows are not taken apart: their tuples point into `bytes`, and are good for as long as that is.
 * @throws RangeError on what protocol 1 does not have
 */
export function readMessage(bytes: Buffer): Message {
  switch (bytes[0]) {
    case 0x49: // I
      return { kind: "insert", oid: bytes.readUInt32BE(1), row: new Tuple(bytes, 6) };
    case 0x55: // U
      return readUpdate(bytes);
    case 0x44: // D
      return { kind: "delete", oid: bytes.readUInt32BE(1), old: readOld(bytes) };
    case 0x42: // B
      return {
        kind: "begin",
        lsn: bytes.readBigUInt64BE(1),
        at: microsFromServer(bytes.readBigInt64BE(9)),
        xid: bytes.readUInt32BE(17),
      };
    case 0x43: // C
      return {
        kind: "commit",
        lsn: bytes.readBigUInt64BE(2),
        endLsn: bytes.readBigUInt64BE(10),
        at: microsFromServer(bytes.readBigInt64BE(18)),
      };
    case 0x52: // R
      return readRelation(bytes);
    case 0x54: // T
      return readTruncate(bytes);
    case 0x4d: // M
      return readLogicalMessage(bytes);
    case 0x4f: // O
    case 0x59: // Y
      return OTHER;
    default:
      throw new RangeError(`pgoutput sent a message of unknown kind ${bytes[0]}`);
  }
}

const OLD_KEY = 0x4b; // K
const OLD_ROW = 0x4f; // O

function readUpdate(bytes: Buffer): Message {
  const oid = bytes.readUInt32BE(1);
  if (bytes[5] !== OLD_KEY && bytes[5] !== OLD_ROW) return { kind: "update", oid, old: null, row: new Tuple(bytes, 6) };
  const old = readOld(bytes);
  return { kind: "update", oid, old, row: new Tuple(bytes, old.tuple.end + 1) };
}

function readOld(bytes: Buffer): OldTuple {
  return { complete: bytes[5] === OLD_ROW, tuple: new Tuple(bytes, 6) };
}

function readRelation(bytes: Buffer): RelationMessage {
  const reader = new Reader(bytes, 5);
  const schema = reader.text();
  const name = reader.text();
  const identity = String.fromCharCode(reader.byte());
  if (identity !== "d" && identity !== "n" && identity !== "f" && identity !== "i")
    throw new RangeError(`unknown replica identity ${identity}`);
  const columns = Array.from({ length: reader.int16() }, () => {
    const key = (reader.byte() & 1) === 1;
    return { key, name: reader.text(), typeOid: reader.uint32(), typeModifier: reader.int32() };
  });
  // An empty name stands for pg_catalog.
  return { kind: "relation", oid: bytes.readUInt32BE(1), schema: schema || "pg_catalog", name, identity, columns };
}

function readTruncate(bytes: Buffer): Message {
  const reader = new Reader(bytes, 6);
  return { kind: "truncate", oids: Array.from({ length: bytes.readUInt32BE(1) }, () => reader.uint32()) };
}

function readLogicalMessage(bytes: Buffer): Message {
  const reader = new Reader(bytes, 10);
  const prefix = reader.text();
  const length = reader.uint32();
  return {
    kind: "message",
    transactional: bytes[1] === 1,
    lsn: bytes.readBigUInt64BE(2),
    prefix,
    content: bytes.subarray(reader.at, reader.at + length),
  };
}

class Reader {
  readonly #bytes: Buffer;
  at: number;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  byte(): number {
    this.at += 1;
    return this.#bytes.readUInt8(this.at - 1);
  }

  int16(): number {
    this.at += 2;
    return this.#bytes.readUInt16BE(this.at - 2);
  }

  int32(): number {
    this.at += 4;
    return this.#bytes.readInt32BE(this.at - 4);
  }

  uint32(): number {
    this.at += 4;
    return this.#bytes.readUInt32BE(this.at - 4);
  }

  /** Up to a NUL. */
  text(): string {
    const end = this.#bytes.indexOf(0, this.at);
    if (end === -1) throw new RangeError("a name in a message does not end");
    const text = this.#bytes.toString("utf8", this.at, end);
    this.at = end + 1;
    return text;
  }
}
