import fc from "fast-check";
import { expect, test } from "vitest";
import xxhash from "xxhash-wasm";
import {
  addFingerprints,
  equalFingerprints,
  FingerprintSum,
  fingerprintOf,
  fingerprintOfCopyStream,
  NO_ROWS,
  subtractFingerprints,
} from "./fingerprint.ts";
import type { Fingerprint } from "./manifest.ts";

/** Rows of COPY text: any bytes but the newline. */
const row = fc.uint8Array({ maxLength: 200 }).map((bytes) => bytes.map((byte) => (byte === 0x0a ? 0x0b : byte)));
const rows = fc.array(row, { maxLength: 30 });

function fingerprint(all: readonly Uint8Array[]): Fingerprint {
  const sum = new FingerprintSum();
  for (const each of all) sum.addRow(each);
  return sum.result();
}

function text(all: readonly Uint8Array[]): Buffer {
  return Buffer.concat(all.flatMap((each) => [each, Buffer.from("\n")]));
}

test("the hash is XXH64 with seed 0", () => {
  // The empty input's value is in the XXH64 specification's test vectors.
  expect(fingerprint([new Uint8Array()])).toEqual({ rows: 1, sum: "ef46db3751d8e999" });
});

test("text in any chunks gives what its rows give, and another implementation of XXH64 agrees", async () => {
  const { h64Raw } = await xxhash();
  await fc.assert(
    fc.asyncProperty(rows, fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1 }), async (all, sizes) => {
      const whole = text(all);
      const chunks: Buffer[] = [];
      for (let at = 0, turn = 0; at < whole.length; turn += 1) {
        const size = sizes[turn % sizes.length] ?? 1;
        chunks.push(whole.subarray(at, at + size));
        at += size;
      }
      const expected = fingerprintOf(
        all.length,
        all.reduce((sum, each) => sum + h64Raw(each), 0n),
      );
      expect(await fingerprintOfCopyStream(ReadableStream.from(chunks))).toEqual(expected);
      expect(fingerprint(all)).toEqual(expected);
    }),
  );
});

test("rows longer than the engine's memory hash like short ones", () => {
  const long = Buffer.alloc(700_001, "x");
  const sum = new FingerprintSum();
  for (const chunk of [text([long]), text([long, Buffer.from("y"), long])]) sum.addText(chunk);
  expect(sum.result()).toEqual(fingerprint([long, long, Buffer.from("y"), long]));
});

test("order does not matter, and fingerprints add and subtract", () => {
  fc.assert(
    fc.property(rows, rows, (a, b) => {
      expect(fingerprint([...a, ...b])).toEqual(fingerprint([...b, ...a].toReversed()));
      const both = addFingerprints(fingerprint(a), fingerprint(b));
      expect(both).toEqual(fingerprint([...a, ...b]));
      expect(subtractFingerprints(both, fingerprint(b))).toEqual(fingerprint(a));
    }),
  );
  expect(equalFingerprints(fingerprint([]), NO_ROWS)).toBe(true);
});

test("any change of one row shows", () => {
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 30 }), fc.nat(), row, (all, at, changed) => {
      const index = at % all.length;
      fc.pre(Buffer.compare(all[index] ?? changed, changed) !== 0);
      expect(fingerprint(all.with(index, changed))).not.toEqual(fingerprint(all));
    }),
  );
});

test("values exchanged between two rows show, which sums of CRCs can miss", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.stringMatching(/^[a-z0-9]{0,9}$/), fc.stringMatching(/^[a-z0-9]{0,9}$/)), { minLength: 2 }),
      fc.nat(),
      (pairs, at) => {
        const index = at % (pairs.length - 1);
        const [first, second] = [pairs[index], pairs[index + 1]];
        fc.pre(first !== undefined && second !== undefined && first[0] !== second[0] && first[1] !== second[1]);
        if (first === undefined || second === undefined) return;
        const swapped = pairs.with(index, [second[0], first[1]]).with(index + 1, [first[0], second[1]]);
        const lines = (all: readonly (readonly [string, string])[]) => all.map((pair) => Buffer.from(pair.join("\t")));
        expect(fingerprint(lines(swapped))).not.toEqual(fingerprint(lines(pairs)));
      },
    ),
  );
});

test("text that ends inside a row is refused", () => {
  const sum = new FingerprintSum();
  sum.addText(Buffer.from("whole\nhalf"));
  expect(() => sum.result()).toThrow(RangeError);
  expect(() => subtractFingerprints(NO_ROWS, fingerprint([Buffer.from("x")]))).toThrow(RangeError);
});
