import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { filterRows, forEachRow } from "./copy.ts";

const signal = new AbortController().signal;

async function* chunksOf(text: Buffer, cuts: readonly number[]): AsyncGenerator<Uint8Array> {
  const at = [...new Set(cuts.map((cut) => cut % (text.length + 1)))].sort((a, b) => a - b);
  let start = 0;
  for (const cut of [...at, text.length]) {
    if (cut > start) yield text.subarray(start, cut);
    start = Math.max(start, cut);
  }
}

const rowsAndCuts = fc.tuple(
  fc.array(fc.string({ maxLength: 8 }).map((row) => row.replaceAll("\n", ""))),
  fc.array(fc.nat(500)),
);

describe("rows of COPY text", () => {
  it("come whole, wherever the chunks were cut", async () => {
    await fc.assert(
      fc.asyncProperty(rowsAndCuts, async ([rows, cuts]) => {
        const seen: string[] = [];
        const text = Buffer.from(rows.map((row) => `${row}\n`).join(""));
        await forEachRow(chunksOf(text, cuts), signal, (row) => seen.push(Buffer.from(row).toString()));
        expect(seen).toEqual(rows);
      }),
    );
  });

  it("are filtered whole, wherever the chunks were cut", async () => {
    await fc.assert(
      fc.asyncProperty(rowsAndCuts, async ([rows, cuts]) => {
        const text = Buffer.from(rows.map((row) => `${row}\n`).join(""));
        const kept: Uint8Array[] = [];
        for await (const chunk of filterRows(chunksOf(text, cuts), (row) => row.length % 2 === 0)) kept.push(chunk);
        const expected = rows.filter((row) => Buffer.byteLength(row) % 2 === 0).map((row) => `${row}\n`);
        expect(Buffer.concat(kept).toString()).toBe(expected.join(""));
      }),
    );
  });

  it("that end without a newline are refused", async () => {
    await expect(forEachRow(chunksOf(Buffer.from("a\nb"), []), signal, () => {})).rejects.toThrow(RangeError);
  });
});
