import { expect, test } from "vitest";
import type { Relation } from "../log/segment-index.ts";
import { columnsAt, keyAt, mapRows } from "./schema-map.ts";

const table = { schema: "app", name: "t" };
const column = (name: string, attnum: number | null, more: { type?: string; missing?: string } = {}) => {
  return { name, type: more.type ?? "text", attnum, key: false, missing: more.missing ?? null };
};

test("rows of one definition are not touched", () => {
  expect(mapRows(table, [column("a", 1), column("b", 2)], [column("a", 1), column("b", 2)])).toBeNull();
});

test("dropped, renamed, added and moved columns are found by attribute number", () => {
  const map = mapRows(
    table,
    [column("a", 1), column("gone", 2), column("old", 3)],
    [column("a", 1), column("new", 3), column("added", 4, { missing: "x" }), column("empty", 5)],
  );
  expect(map?.(["1", "2", "3"])).toEqual(["1", "3", "x", "\\N"]);
});

test("a column that was dropped and made anew is another one; where numbers are missing, names decide", () => {
  expect(mapRows(table, [column("a", 1)], [column("a", 2)])?.(["1"])).toEqual(["\\N"]);
  expect(mapRows(table, [column("a", null)], [column("a", 2)])).toBeNull();
});

test("a type whose values keep their text is followed, any other is refused", () => {
  const from = (type: string) => [column("a", 1, { type })];
  expect(mapRows(table, from("integer"), from("bigint"))).toBeNull();
  expect(mapRows(table, from("character varying(5)"), from("text"))).toBeNull();
  expect(() => mapRows(table, from("text"), from("integer"))).toThrow(
    expect.objectContaining({ code: "schema_drift" }),
  );
});

test("the moment has the log's columns, with what the base knows of them, and its key by its names then", () => {
  const base = {
    table,
    scope: { kind: "schema" as const },
    columns: [
      { name: "id", type: "bigint", notNull: true, identity: "always" as const, attnum: 1 },
      { name: "a", type: "text", notNull: true, identity: null, attnum: 2 },
    ],
    key: ["id"],
    rawBytes: 0,
    fingerprint: { rows: 0, sum: "0".repeat(16) },
    ranges: [],
  };
  const last: Relation = {
    table,
    scope: base.scope,
    identity: "key",
    columns: [column("number", 1, { type: "bigint" }), column("b", 3)],
  };
  const columns = columnsAt(base, last);
  expect(columns).toEqual([
    { name: "number", type: "bigint", notNull: true, identity: "always", attnum: 1 },
    { name: "b", type: "text", notNull: false, identity: null, attnum: 3 },
  ]);
  expect(keyAt(base, columns)).toEqual(["number"]);
  expect(keyAt({ ...base, key: ["id", "a"] }, columns)).toBeNull();
});
