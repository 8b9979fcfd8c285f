import { randomBytes, randomUUID } from "node:crypto";
import { inspect } from "node:util";
import { expect, test } from "vitest";
import type { KeyOwner } from "./key-ring.ts";
import { newDataKey, parseMasterKeys, rewrapDataKey, unwrapDataKey } from "./master-keys.ts";
import { openBlock, sealBlock } from "./sealed-block.ts";

const A = randomBytes(32).toString("base64");
const B = randomBytes(32).toString("base64");
const tenantId = randomUUID();
const OWNER: KeyOwner = { tenantId };
const PLACE = Buffer.from("here");

test("the first master key is the current one, and each has its id of itself", () => {
  const keys = parseMasterKeys(`${A}\n ${B},`);
  expect([...keys.all.keys()].toSorted()).toEqual(
    [parseMasterKeys(A).current.id, parseMasterKeys(B).current.id].toSorted(),
  );
  expect(keys.current.id).toBe(parseMasterKeys(A).current.id);
  expect(keys.current.id).toMatch(/^[0-9a-f]{16}$/);
  expect(parseMasterKeys("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").current.id).toBe("6995b9fb53e758e1");
});

test.each(["", " \n", "c2hvcnQ=", `${A} ${B.slice(1)}`, `${A}x`, A.replace(/=$/, ""), "ä".repeat(44)])(
  "%j is refused, and not shown",
  (text) => {
    const shown = [A, B.slice(1), "c2hvcnQ"];
    const failure = (): unknown => parseMasterKeys(text);
    expect(failure).toThrow(RangeError);
    try {
      failure();
    } catch (error) {
      for (const secret of shown) expect(inspect(error)).not.toContain(secret);
    }
  },
);

test("a wrapped data key opens under its master key, for its owner and under its id alone", () => {
  const masters = parseMasterKeys(A);
  const key = newDataKey(masters, OWNER);
  const sealed = sealBlock(unwrapDataKey(masters, key), PLACE, Buffer.from("row"));
  expect(openBlock(unwrapDataKey(masters, key), PLACE, sealed).toString()).toBe("row");
  for (const wrong of [
    { ...key, owner: { tenantId: randomUUID() } },
    { ...key, owner: { sourceId: tenantId } },
    { ...key, id: randomUUID() },
    { ...key, wrapped: key.wrapped.subarray(0, -1) },
    { ...key, masterKeyId: "0123456789abcdef" },
  ]) {
    expect(() => unwrapDataKey(masters, wrong)).toThrow(
      expect.objectContaining({ code: "key_wrong", retryable: false }),
    );
  }
  expect(() => unwrapDataKey(parseMasterKeys(B), key)).toThrow(expect.objectContaining({ code: "key_wrong" }));
});

test("rewrapping changes the master key and not the data key", () => {
  const before = newDataKey(parseMasterKeys(A), OWNER);
  const sealed = sealBlock(unwrapDataKey(parseMasterKeys(A), before), PLACE, Buffer.from("row"));
  const after = rewrapDataKey(parseMasterKeys(`${B} ${A}`), before);
  expect(after.masterKeyId).toBe(parseMasterKeys(B).current.id);
  expect(openBlock(unwrapDataKey(parseMasterKeys(B), after), PLACE, sealed).toString()).toBe("row");
  expect(() => unwrapDataKey(parseMasterKeys(A), after)).toThrow(expect.objectContaining({ code: "key_wrong" }));
});

test("two data keys have nothing in common", () => {
  const masters = parseMasterKeys(A);
  const [first, second] = [newDataKey(masters, OWNER), newDataKey(masters, OWNER)];
  const sealed = sealBlock(unwrapDataKey(masters, first), PLACE, Buffer.from("row"));
  expect(() => openBlock(unwrapDataKey(masters, second), PLACE, sealed)).toThrow();
  expect(first.id).not.toBe(second.id);
});
