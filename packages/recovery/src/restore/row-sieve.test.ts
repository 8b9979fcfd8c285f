import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compileRowEngine } from "../archive/compile-row-engine.ts";
import { FingerprintSum } from "../archive/fingerprint.ts";
import { assembleRowSieve } from "./assemble-row-sieve.ts";
import { keyText } from "./row-hash.ts";
import { RowSieve, type SieveOptions } from "./row-sieve.ts";

function sieveOf(rows: readonly string[], options: Partial<SieveOptions> = {}, cut = 1 << 30): RowSieve {
  const sieve = new RowSieve({ key: null, expectedRows: 1000, ...options });
  const text = Buffer.from(rows.map((row) => `${row}\n`).join(""));
  for (let at = 0; at < text.length; at += cut) sieve.add(text.subarray(at, at + cut));
  return sieve;
}

function siftOf(sieve: RowSieve, rows: readonly string[], cut: number): string[] {
  const kept: string[] = [];
  const text = Buffer.from(rows.map((row) => `${row}\n`).join(""));
  for (let at = 0; at < text.length; at += cut) {
    sieve.sift(text.subarray(at, at + cut), (found) => kept.push(Buffer.from(found).toString()));
  }
  return kept.join("").split("\n").slice(0, -1);
}

const LONG = "x".repeat(700_000);
const row = fc
  .tuple(
    fc.nat(300),
    fc.oneof({ weight: 30, arbitrary: fc.string({ maxLength: 20 }) }, { weight: 1, arbitrary: fc.constant(LONG) }),
  )
  .map(([id, text]) => `x\t${id}\t${text.replace(/[\t\n\\]/g, "")}`);
const cut = fc.constantFrom(1 << 30, 300_000, 4096, 7);

describe("RowSieve", () => {
  it("is the text it was built from", async () => {
    const text = (name: string): string => readFileSync(new URL(name, import.meta.url), "utf8");
    const binary = await compileRowEngine(assembleRowSieve(text("./row-sieve.wat"), text("../archive/row-engine.wat")));
    expect(Buffer.from(binary).equals(readFileSync(new URL("./row-sieve.wasm", import.meta.url)))).toBe(true);
  });

  it("sums all rows up to the fingerprint of the format, however they are cut", () => {
    fc.assert(
      fc.property(fc.array(row, { maxLength: 20 }), fc.constantFrom(1 << 30, 300_000, 4096), (rows, size) => {
        const sum = new FingerprintSum();
        for (const one of rows) sum.addRow(Buffer.from(one));
        expect(sieveOf(rows, {}, size).fingerprint()).toEqual(sum.result());
        expect(
          sieveOf(
            rows.map((one) => `(0,1)\t${one}`),
            { places: true },
            size,
          ).fingerprint(),
        ).toEqual(sum.result());
      }),
      { numRuns: 40 },
    );
    const open = new RowSieve({ key: null, expectedRows: 1 });
    open.add(Buffer.from("a\nb"));
    expect(() => open.fingerprint()).toThrow(RangeError);
  });

  it("finds every row that only one side has, whatever the order, and few others", () => {
    fc.assert(
      fc.property(
        fc.array(row),
        fc.array(row),
        fc.array(row),
        fc.boolean(),
        cut,
        (both, onlyLeft, onlyRight, keyed, size) => {
          const key = keyed ? [1] : null;
          const left = sieveOf([...both, ...onlyLeft], { key });
          const right = sieveOf([...onlyRight, ...both], { key });
          expect(left.markDiffering(right)).toBeLessThanOrEqual(onlyLeft.length + onlyRight.length);
          const count = (rows: readonly string[], one: string): number => rows.filter((other) => other === one).length;
          const all = [...onlyLeft, ...onlyRight];
          const kept = siftOf(right, all, all.some((one) => one.length > 1000) ? 1 << 30 : size);
          for (const one of all) {
            expect(right.isMarked(Buffer.from(one), key)).toBe(kept.includes(one));
            if (count(onlyLeft, one) !== count(onlyRight, one)) expect(kept).toContain(one);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it("remembers where the rows of marked buckets are, up to a limit", () => {
    const rows = Array.from({ length: 2000 }, (_, n) => `(${n * 1000},${n % 291})\t${n}\tvalue ${n}`);
    const archived = Array.from({ length: 2000 }, (_, n) => (n === 77 ? "77\tother" : `${n}\tvalue ${n}`));
    const live = sieveOf(rows, { key: [0], expectedRows: 2000, places: true }, 1000);
    live.markDiffering(sieveOf(archived, { key: [0], expectedRows: 2000 }));
    const places = live.markedPlaces();
    expect(places).toContainEqual({ block: 77_000, offset: 77 });
    expect(places?.length).toBeLessThan(10);
    live.markDiffering(sieveOf([], { key: [0], expectedRows: 2000 }));
    expect(live.markedPlaces()?.length).toBe(2000);
    expect(live.markedPlaces(10)?.length, "no list of a whole table").toBe(11);
    const crowded = sieveOf(rows, { key: [0], expectedRows: 1, places: true });
    expect(crowded.markedPlaces()).toBeNull();
    const large = sieveOf(["(4294967295,65535)\ta"], { places: true });
    large.markDiffering(sieveOf([]));
    expect(large.markedPlaces()).toEqual([{ block: 4_294_967_295, offset: 65_535 }]);
  });

  it("finds a row by its key alone, wherever the key's fields stand", () => {
    const sieve = sieveOf(["a\tk1\tb\tk2"], { key: [3, 1] });
    sieve.markDiffering(sieveOf([], { key: [3, 1] }));
    expect(sieve.isMarked(Buffer.from("k2\tk1"), [0, 1])).toBe(true);
    expect(sieve.isMarked(Buffer.from("k1\tk2"), [0, 1])).toBe(false);
    expect(keyText(Buffer.from("a\tk1\tb\tk2"), [3, 1])).toBe("k2\tk1");
  });
});
