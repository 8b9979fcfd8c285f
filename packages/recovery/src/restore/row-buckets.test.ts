import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FingerprintSum } from "../archive/fingerprint.ts";
import { keyText, RowBuckets } from "./row-buckets.ts";

const bytes = (row: string): Uint8Array => Buffer.from(row);

function bucketsOf(rows: readonly string[], key: readonly number[] | null): RowBuckets {
  const buckets = new RowBuckets(key, 1000);
  for (const row of rows) buckets.add(bytes(row));
  return buckets;
}

describe("RowBuckets", () => {
  it("sums all rows up to the fingerprint of the format", () => {
    const rows = ["1\ta", "2\t\\N", "", "3\tä🦆"];
    const sum = new FingerprintSum();
    for (const row of rows) sum.addRow(bytes(row));
    expect(bucketsOf(rows, null).fingerprint()).toEqual(sum.result());
  });

  it("finds every row that only one side has, whatever the order, and few others", () => {
    const row = fc
      .tuple(fc.nat(300), fc.string({ maxLength: 5 }))
      .map(([id, text]) => `x\t${id}\t${text.replace(/[\t\n\\]/g, "")}`);
    fc.assert(
      fc.property(fc.array(row), fc.array(row), fc.array(row), fc.boolean(), (both, onlyLeft, onlyRight, keyed) => {
        const key = keyed ? [1] : null;
        const differing = bucketsOf([...both, ...onlyLeft], key).differing(bucketsOf([...onlyRight, ...both], key));
        const count = (rows: readonly string[], one: string): number => rows.filter((other) => other === one).length;
        for (const one of [...onlyLeft, ...onlyRight]) {
          if (count(onlyLeft, one) !== count(onlyRight, one)) expect(differing.has(bytes(one), key)).toBe(true);
        }
        expect(differing.count).toBeLessThanOrEqual(onlyLeft.length + onlyRight.length);
      }),
    );
  });

  it("finds a row by its key alone, wherever the key's fields stand", () => {
    const differing = bucketsOf(["a\tk1\tb\tk2"], [3, 1]).differing(bucketsOf([], [3, 1]));
    expect(differing.has(bytes("k2\tk1"), [0, 1])).toBe(true);
    expect(differing.has(bytes("k1\tk2"), [0, 1])).toBe(false);
    expect(keyText(bytes("a\tk1\tb\tk2"), [3, 1])).toBe("k2\tk1");
  });
});
