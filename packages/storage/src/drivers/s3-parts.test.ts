import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { partSize, partsInFlight } from "./s3-part-sizes.ts";
import { cutIntoParts } from "./s3-parts.ts";

const MIB = 1024 * 1024;

describe("part sizes", () => {
  it("fit S3's largest object into 10,000 parts of 8 MiB to 5 GiB", () => {
    const sizes = Array.from({ length: 10_000 }, (_, at) => partSize(at + 1));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThanOrEqual(5 * 1024 ** 4);
    expect(Math.min(...sizes)).toBe(8 * MIB);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(5 * 1024 ** 3);
    expect(sizes).toEqual(sizes.toSorted((a, b) => a - b));
    expect(() => partSize(10_001)).toThrow(RangeError);
  });

  it("keep what is on its way small", () => {
    expect(partsInFlight(8 * MIB) * 8).toBeLessThanOrEqual(32);
    expect(partsInFlight(1024 * MIB)).toBe(1);
  });
});

describe("cutting a body", () => {
  it("loses, doubles and reorders nothing, whatever the chunks", async () => {
    const chunkSize = fc.oneof(
      fc.nat(100),
      fc.nat(200_000),
      fc.constantFrom(8 * MIB, 8 * MIB - 1, 8 * MIB + 1, 17 * MIB),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(chunkSize, { maxLength: 6 }), async (sizes) => {
        const given = createHash("sha256");
        const received = createHash("sha256");
        async function* body(): AsyncGenerator<Uint8Array> {
          for (const [at, size] of sizes.entries()) {
            const chunk = Buffer.alloc(size, at + 1);
            given.update(chunk);
            yield chunk;
            // A producer that uses its buffer again.
            chunk.fill(0xff);
          }
        }
        const parts: { number: number; bytes: number; short: boolean }[] = [];
        for await (const part of cutIntoParts(body())) {
          received.update(part.data);
          parts.push({ number: part.number, bytes: part.data.byteLength, short: part.short });
          part.release();
        }
        expect(received.digest("hex")).toBe(given.digest("hex"));
        expect(parts.length).toBeGreaterThan(0);
        expect(parts.map(({ number }) => number)).toEqual(parts.map((_, at) => at + 1));
        for (const part of parts.slice(0, -1)) expect(part.bytes).toBe(8 * MIB);
        for (const part of parts) expect(part.short).toBe(part.bytes < 8 * MIB);
      }),
      { numRuns: 15 },
    );
  });
});
