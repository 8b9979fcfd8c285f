import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { escapeField, UNKNOWN_FIELD } from "../log/change-lines.ts";
import { readMessage } from "./pgoutput.ts";
import { RowText, type Tuple, type Value } from "./tuple.ts";
import { lsnForServer, lsnFromServer, lsnText, microsFromServer, widenXid } from "./wal-position.ts";

const value = fc.oneof(fc.constant(null), fc.constant(undefined), fc.string({ unit: "binary", maxLength: 20 }));
const row = fc.array(value, { minLength: 1, maxLength: 8 });

function tupleBytes(values: readonly Value[]): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(values.length);
  const fields = values.map((text) => {
    if (text === null) return Buffer.from("n");
    if (text === undefined) return Buffer.from("u");
    const bytes = Buffer.from(text);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return Buffer.concat([Buffer.from("t"), length, bytes]);
  });
  return Buffer.concat([head, ...fields]);
}

function message(kind: string, oid: number, ...parts: readonly (string | Buffer)[]): Buffer {
  const id = Buffer.alloc(4);
  id.writeUInt32BE(oid);
  return Buffer.concat([Buffer.from(kind), id, ...parts.map((part) => Buffer.from(part))]);
}

function text(tuple: Tuple, known: readonly boolean[] | null = null, older: Tuple | null = null): string {
  const target = new RowText();
  tuple.write(target, known, older);
  return target.bytes.toString();
}

const field = (one: Value): string => (one === undefined ? UNKNOWN_FIELD : escapeField(one));

function rowOf(bytes: Buffer): Tuple {
  const read = readMessage(bytes);
  if (read.kind !== "insert" && read.kind !== "update") throw new Error(`a ${read.kind}`);
  return read.row;
}

describe("rows", () => {
  test("become COPY's text, with NULL, unknown and every character apart", () => {
    fc.assert(
      fc.property(row, (values) => {
        const tuple = rowOf(message("I", 4_000_000_000, "N", tupleBytes(values)));
        expect(text(tuple)).toBe(values.map(field).join("\t"));
        expect(values.map((_, column) => tuple.value(column))).toEqual(values);
        expect(tuple.isPartial).toBe(values.includes(undefined));
      }),
    );
  });

  test("of an update take from the whole old row what they lack themselves", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(value, value), { minLength: 1, maxLength: 6 }), (pairs) => {
        const before = tupleBytes(pairs.map(([old]) => old));
        const after = tupleBytes(pairs.map(([, now]) => now));
        const update = readMessage(message("U", 7, "O", before, "N", after));
        if (update.kind !== "update" || update.old === null) throw new Error("no old row");
        expect(update).toMatchObject({ oid: 7, old: { complete: true } });
        const merged = pairs.map(([old, now]) => field(now === undefined ? old : now));
        expect(text(update.row, null, update.old.tuple)).toBe(merged.join("\t"));
      }),
    );
  });

  test("of a key alone say nothing of the other columns", () => {
    const deleted = readMessage(message("D", 7, "K", tupleBytes(["1", null, null])));
    if (deleted.kind !== "delete") throw new Error(deleted.kind);
    expect(deleted.old.complete).toBe(false);
    expect(text(deleted.old.tuple, [true, false, true])).toBe("1\t\\U\t\\N");
  });

  test("are written one after the other into the same buffer, also long ones", () => {
    const target = new RowText();
    for (const length of [10, 100_000, 3]) {
      target.clear();
      rowOf(message("I", 1, "N", tupleBytes(["\t".repeat(length)]))).write(target, null, null);
      expect(target.bytes.toString()).toBe("\\t".repeat(length));
    }
  });

  test("of a kind that was not asked for are refused", () => {
    const binary = tupleBytes(["x"]);
    binary[2] = 0x62; // b
    expect(() => readMessage(message("I", 1, "N", binary))).toThrow(RangeError);
    expect(() => readMessage(Buffer.from("S"))).toThrow(RangeError);
  });
});

describe("ids and positions", () => {
  test("a transaction's 64 bits come back from 32, on both sides of every wraparound", () => {
    const near = fc.oneof(
      fc.bigInt({ min: 0n, max: 2n ** 62n }),
      fc
        .tuple(fc.bigInt({ min: 1n, max: 1000n }), fc.bigInt({ min: -5n, max: 5n }))
        .map(([n, off]) => n * 2n ** 32n + off),
    );
    const distance = fc.oneof(
      fc.bigInt({ min: -(2n ** 31n) + 1n, max: 2n ** 31n - 1n }),
      fc.bigInt({ min: -10n, max: 10n }),
    );
    fc.assert(
      fc.property(near, distance, (reference, off) => {
        const xid = reference + off;
        fc.pre(xid >= 0n);
        expect(widenXid(Number(BigInt.asUintN(32, xid)), reference)).toBe(xid);
      }),
    );
  });

  test("positions are ordered as their texts, whatever form the server prints", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (a, b) => {
        expect(lsnText(a) < lsnText(b)).toBe(a < b);
        const [high, low] = [(a >> 32n).toString(16).toUpperCase(), (a & 0xffffffffn).toString(16).toUpperCase()];
        expect(lsnFromServer(`${high}/${low}`)).toBe(lsnText(a));
        expect(lsnFromServer(lsnForServer(lsnText(a)))).toBe(lsnText(a));
      }),
    );
    expect(() => lsnFromServer("1DBFC00")).toThrow(RangeError);
  });

  test("commit times keep their microseconds", () => {
    const begin = Buffer.alloc(21);
    begin.write("B");
    begin.writeBigUInt64BE(0x1_01db_fc00n, 1);
    begin.writeBigInt64BE(817_300_799_123_457n, 9);
    begin.writeUInt32BE(4_294_967_295, 17);
    expect(readMessage(begin)).toEqual({
      kind: "begin",
      lsn: 0x1_01db_fc00n,
      at: 1_763_985_599_123_457n,
      xid: 4_294_967_295,
    });
    expect(microsFromServer(0n)).toBe(BigInt(Date.UTC(2000, 0, 1)) * 1000n);
  });
});
