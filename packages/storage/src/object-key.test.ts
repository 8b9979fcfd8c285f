import { join, resolve, sep } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HOSTILE_KEYS } from "./conformance/keys.ts";
import { assertKey, assertPrefix, compareKeys } from "./object-key.ts";

const ROOT = `${sep}store${sep}root`;

function accepts(key: string): boolean {
  try {
    assertKey(key);
    return true;
  } catch (error) {
    expect(error).toMatchObject({ name: "StorageError", code: "invalid_key", retryable: false });
    return false;
  }
}

/** Text that likes to be a path. */
const pathLike = fc
  .array(
    fc.oneof(
      fc.constantFrom("..", ".", "", "\\", "\0", "%2e%2e", "..\\", "~", "C:", "a", "…"),
      fc.string({ unit: "binary", maxLength: 4 }),
    ),
    {
      maxLength: 6,
    },
  )
  .map((segments) => segments.join("/"));

describe("a key", () => {
  it("that is accepted names a file inside the root, and no other key names the same", () => {
    fc.assert(
      fc.property(pathLike, (key) => {
        fc.pre(accepts(key));
        expect(resolve(ROOT, key)).toBe(`${ROOT}${sep}${key}`);
        expect(join(ROOT, key).slice(ROOT.length + 1)).toBe(key);
        expect(key).not.toContain("\0");
      }),
      { numRuns: 2_000 },
    );
  });

  it("survives UTF-8", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (key) => {
        fc.pre(accepts(key));
        expect(Buffer.from(key).toString()).toBe(key);
        expect(Buffer.byteLength(key)).toBeLessThanOrEqual(1024);
      }),
    );
  });

  it.each(HOSTILE_KEYS)("is refused: %j", (key) => {
    expect(accepts(key)).toBe(false);
  });

  it("of plain segments is accepted, and so is every beginning of it as a prefix", () => {
    const segment = fc.stringMatching(/^[\w-]{1,20}$/);
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 5 }), fc.nat(), (segments, cut) => {
        const key = segments.join("/");
        expect(accepts(key)).toBe(true);
        expect(() => assertPrefix(key.slice(0, cut % (key.length + 1)))).not.toThrow();
      }),
    );
  });

  it("sorts by its bytes", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (a, b) => {
        fc.pre(a.isWellFormed() && b.isWellFormed());
        expect(Math.sign(compareKeys(a, b))).toBe(Math.sign(Buffer.from(a).compare(Buffer.from(b))));
        expect(compareKeys(a, b) === 0).toBe(a === b);
      }),
    );
  });
});
