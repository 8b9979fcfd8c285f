import { describe, expect, test } from "vitest";
import { z } from "zod";
import { InvalidCursorError, pageOf, readPage } from "./page.ts";

const ID = "7f0c2b9e-9f61-4f0a-8a59-2c0f5a3f7f01";
const row = (id: string) => ({ id, cursorAt: "2026-11-23T23:11:00.123456Z" });
const Row = z.object({ id: z.uuid() });

describe("pages", () => {
  test("a cursor keeps the microseconds of the last row given", () => {
    const page = pageOf({ rows: [row(ID), row(ID.replace("7", "8"))] }, 1, Row);
    expect(page.items).toEqual([{ id: ID }]);
    expect(readPage({ cursor: page.next ?? "" }).after).toEqual({ at: "2026-11-23T23:11:00.123456Z", id: ID });
  });

  test("the last page has no next", () => {
    expect(pageOf({ rows: [row(ID)] }, 1, Row).next).toBeNull();
    expect(pageOf({ rows: [] }, 1, Row)).toEqual({ items: [], next: null });
  });

  test("limit is 100 unless told, and stays within 1 and 500", () => {
    expect(readPage({}).limit).toBe(100);
    expect(readPage({ limit: 1_000_000 }).limit).toBe(500);
    expect(readPage({ limit: 0 }).limit).toBe(1);
  });

  test.each([
    ["nothing", ""],
    ["not base64", "%%%"],
    ["not JSON", Buffer.from("hello").toString("base64url")],
    ["another shape", Buffer.from(JSON.stringify({ at: "2026-11-23T23:11:00.123456Z" })).toString("base64url")],
    ["SQL in the time", Buffer.from(JSON.stringify({ at: "'; DROP TABLE runs", id: ID })).toString("base64url")],
    ["milliseconds", Buffer.from(JSON.stringify({ at: "2026-11-23T23:11:00.123Z", id: ID })).toString("base64url")],
  ])("a bad cursor (%s) is an InvalidCursorError", (_name, cursor) => {
    expect(() => readPage({ cursor })).toThrow(InvalidCursorError);
  });
});
