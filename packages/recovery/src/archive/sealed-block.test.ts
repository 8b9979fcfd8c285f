import { createHash, createSecretKey, randomBytes } from "node:crypto";
import { inspect } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import { openBlock, SEAL_BYTES, type SealKey, sealBlock } from "./sealed-block.ts";
import { testKey } from "./testing/test-keys.ts";

const AAD = Buffer.from("part 3, frame 7");

function verdict(key: SealKey, aad: Uint8Array, sealed: Uint8Array): string {
  try {
    openBlock(key, aad, sealed);
    return "opened";
  } catch (error) {
    return Object(error).code ?? String(error);
  }
}

test("what was sealed is there again, and a fixed number of bytes longer", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5_000 }), fc.uint8Array({ maxLength: 100 }), (bytes, aad) => {
      const key = testKey();
      const sealed = sealBlock(key, aad, bytes);
      expect(sealed.length).toBe(bytes.length + SEAL_BYTES);
      expect(openBlock(key, aad, sealed)).toEqual(Buffer.from(bytes));
    }),
  );
});

test("one flipped bit anywhere, a cut anywhere, bytes added, another place and another key do not open", () => {
  const key = testKey();
  const sealed = sealBlock(key, AAD, randomBytes(200));
  for (let at = 0; at < sealed.length; at += 1) {
    for (let bit = 0; bit < 8; bit += 1) {
      const flipped = Buffer.from(sealed);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
      expect(verdict(key, AAD, flipped)).toBe("archive_damaged");
    }
    expect(verdict(key, AAD, sealed.subarray(0, at))).toBe("archive_damaged");
    expect(verdict(key, AAD, Buffer.concat([sealed, sealed.subarray(at)]))).toBe("archive_damaged");
  }
  expect(verdict(key, Buffer.from("part 3, frame 8"), sealed)).toBe("archive_damaged");
  expect(verdict(testKey(), AAD, sealed)).toBe("archive_damaged");
  expect(verdict(key, AAD, sealed)).toBe("opened");
});

test("equal bytes sealed again have nothing in common: no block key, and so no nonce, is used twice", () => {
  const key = testKey();
  const bytes = Buffer.alloc(256);
  const pieces = new Set<string>();
  const rounds = 2_000;
  for (let round = 0; round < rounds; round += 1) {
    const sealed = sealBlock(key, AAD, bytes);
    pieces.add(sealed.subarray(0, 32).toString("hex")).add(sealed.subarray(32, 64).toString("hex"));
  }
  expect(pieces.size).toBe(2 * rounds);
});

test("a block of a known key and salt is what the documentation's steps give", () => {
  const secret = createSecretKey(createHash("sha256").update("a fixed key").digest());
  const sealed = `${"4d".repeat(32)}1be8a1f9222ee8df80485df8db40cbc8521fb83911`;
  expect(openBlock({ id: "fixed", secret }, AAD, Buffer.from(sealed, "hex")).toString()).toBe("hello");
});

test("a key shows nothing of itself", () => {
  const bytes = randomBytes(32);
  const key: SealKey = { id: "k", secret: createSecretKey(bytes) };
  const shown = `${inspect(key, { depth: 9, showHidden: true })}${JSON.stringify(key)}`;
  expect(shown).not.toContain(bytes.toString("hex"));
  expect(shown).not.toContain(bytes.toString("base64"));
});
