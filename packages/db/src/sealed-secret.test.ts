import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openSecret, SealedSecretError, sealSecret } from "./sealed-secret.ts";

const key = randomBytes(32);
const URL_WITH_PASSWORD = "postgres://reader:hünter2@db.example.com/app";

describe("sealSecret and openSecret", () => {
  test("any text comes back as it was", () => {
    fc.assert(fc.property(fc.string({ unit: "grapheme" }), (text) => openSecret(sealSecret(text, key), key) === text));
  });

  test("the same secret never looks the same twice, and does not show through", () => {
    const sealed = [sealSecret(URL_WITH_PASSWORD, key), sealSecret(URL_WITH_PASSWORD, key)];
    expect(new Set(sealed).size).toBe(2);
    for (const text of sealed) expect(text).toMatch(/^v1\.[\w-]+$/);
  });

  test("every single changed character is noticed", () => {
    const sealed = sealSecret(URL_WITH_PASSWORD, key);
    for (let index = 0; index < sealed.length; index += 1) {
      const altered = sealed.slice(0, index) + (sealed[index] === "A" ? "B" : "A") + sealed.slice(index + 1);
      expect(() => openSecret(altered, key), `character ${index}`).toThrow(SealedSecretError);
    }
  });

  test("cut short at any place, it is refused", () => {
    const sealed = sealSecret("s", key);
    for (let length = 0; length < sealed.length; length += 1) {
      expect(() => openSecret(sealed.slice(0, length), key)).toThrow(SealedSecretError);
    }
    expect(() => openSecret(`${sealed}.more`, key)).toThrow(SealedSecretError);
    expect(() => openSecret(`${sealed}*`, key)).toThrow(SealedSecretError);
  });

  test("another key, or one of a wrong length, opens nothing", () => {
    const sealed = sealSecret("s", key);
    expect(() => openSecret(sealed, randomBytes(32))).toThrow(SealedSecretError);
    expect(() => openSecret(sealed, randomBytes(16))).toThrow(/32 bytes, not 16/);
    expect(() => sealSecret("s", randomBytes(31))).toThrow(/32 bytes, not 31/);
  });
});
