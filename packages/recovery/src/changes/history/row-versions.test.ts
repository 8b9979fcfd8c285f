import { expect, test } from "vitest";
import type { Relation } from "../log/segment-index.ts";
import type { LoggedTableChange } from "../moment/moment-log.ts";
import { RowVersions, valuesOf } from "./row-versions.ts";

const RELATION: Relation = {
  table: { schema: "app", name: "t" },
  scope: { kind: "direct", column: "tenant" },
  identity: "key",
  columns: ["id", "note", "big"].map((name, at) => ({
    name,
    type: "text",
    attnum: at + 1,
    key: at === 0,
    missing: null,
  })),
};
const U = "\\U";

type Op = LoggedTableChange["change"]["op"];

function change(
  op: Op,
  row: string[],
  more: { old?: string[]; shared?: boolean; tenant?: string } = {},
): LoggedTableChange {
  const transaction = { lsn: 1n, xid: 1n, at: 1n };
  const { old = null, shared = false, tenant = null } = more;
  return { change: { op, transaction, seq: 0, row, old, tenant }, relation: RELATION, shared, included: true };
}

function told(base: string[] | null, changes: LoggedTableChange[]): unknown[] {
  const row = base === null ? null : valuesOf(["id", "note", "big"], base);
  const versions = new RowVersions({ keyColumns: ["id"], key: ["1"], tenantKey: "a", row });
  return changes.flatMap((one) => {
    const version = versions.next(one);
    if (version === null) return [];
    const { operation, row: after, changed } = version;
    return [[operation, after === null ? null : Object.fromEntries(after), ...changed]];
  });
}

test("a row's life is told, with what changed, and values that were not carried", () => {
  expect(
    told(null, [
      change("insert", ["1", "a\\tb", "B"]),
      change("insert", ["2", "other", "B"]),
      change("update", ["1", "\\N", U]),
      change("delete", ["1", U, U], { shared: true }),
      change("insert", ["1", "again", "C"]),
      change("truncate", []),
    ]),
  ).toEqual([
    ["insert", { id: "1", note: "a\tb", big: "B" }],
    ["update", { id: "1", note: null, big: "B" }, "note"],
    ["delete", null],
    ["insert", { id: "1", note: "again", big: "C" }],
    ["truncate", null],
  ]);
});

test("a row that goes to another key or tenant is gone, and one that comes from another key is told", () => {
  expect(told(["1", "x", "B"], [change("update", ["9", "x", U], { old: ["1", U, U] })])).toEqual([["gone", null]]);
  expect(told(["1", "x", "B"], [change("moved", ["1", U, U], { shared: true, tenant: "b" })])).toEqual([
    ["gone", null],
  ]);
  expect(told(null, [change("update", ["1", "x", U], { old: ["9", U, U] })])).toEqual([
    ["update", { id: "1", note: "x" }],
  ]);
});

test("what others did under the same key does not show", () => {
  expect(
    told(null, [
      change("insert", ["1", "secret", "S"], { shared: true }),
      change("update", ["1", "secret", "S"], { shared: true }),
      change("moved", ["1", U, U], { shared: true, tenant: "b" }),
      change("delete", ["1", U, U], { shared: true }),
      change("insert", ["1", "secret", "S"], { shared: true }),
      change("delete", ["1", U, U], { shared: true }),
      change("update", ["1", "ours", U]),
    ]),
  ).toEqual([["update", { id: "1", note: "ours" }]]);
});
