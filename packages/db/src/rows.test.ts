import { describe, expect, test } from "vitest";
import { Int8, jsonb } from "./rows.ts";

describe("jsonb parameters", () => {
  test("null and undefined are SQL's NULL, everything else is JSON", () => {
    expect(jsonb(null)).toBeNull();
    expect(jsonb(undefined)).toBeNull();
    expect(jsonb({ a: [1, "é"] })).toBe('{"a":[1,"é"]}');
  });

  test("what jsonb refuses is replaced, so that a failure can always be recorded", () => {
    expect(jsonb({ message: "a\u0000b\ud800c" })).toBe('{"message":"a\ufffdb\ufffdc"}');
    expect(jsonb({ message: "not an escape: \\u0000" })).toBe('{"message":"not an escape: \\\\u0000"}');
  });
});

test("a bigint beyond what a number holds exactly is refused, not rounded", () => {
  expect(Int8.parse("9007199254740991")).toBe(Number.MAX_SAFE_INTEGER);
  expect(() => Int8.parse("9007199254740993")).toThrow();
});
