import { describe, expect, it } from "vitest";
import { canonicalJson, type DigestInput, planDigest, type TableChange } from "./digest.ts";

const NONE = { rows: 0, sum: "0000000000000000" };

function change(table: string, rows: number): TableChange {
  return { table, inserted: { rows, sum: "00000000000000ff" }, deleted: NONE, replaced: NONE, replacing: NONE };
}

const INPUT: DigestInput = {
  request: { backupId: "00000000-0000-4000-8000-000000000000", mode: "exact", tables: null, keys: null },
  manifestSha256: "00".repeat(32),
  triggersMode: "suppress",
  changes: [change("a.b", 1), change("a.c", 2)],
  catalog: { tables: [], foreignKeys: [] },
};

describe("planDigest", () => {
  it("is the same for the same plan, whatever the order things were found in, and for tables that do not change", () => {
    expect(planDigest(INPUT)).toBe("251d66af7c43ddcdd27c2057dd6904b0386b3a5845e0979a6a3a3a8de0850c27");
    expect(planDigest({ ...INPUT, changes: INPUT.changes.toReversed() })).toBe(planDigest(INPUT));
    expect(planDigest({ ...INPUT, changes: [...INPUT.changes, change("a.d", 0)] })).toBe(planDigest(INPUT));
  });

  it.each<[string, Partial<DigestInput>]>([
    ["a row", { changes: [change("a.b", 1), { ...change("a.c", 2), inserted: { rows: 2, sum: "00000000000000fe" } }] }],
    ["the mode", { request: { ...INPUT.request, mode: "missing_only" } }],
    ["the tables", { request: { ...INPUT.request, tables: ["a.b"] } }],
    ["the backup", { manifestSha256: "11".repeat(32) }],
    ["the triggers", { triggersMode: "fire" }],
  ])("is another one for another plan: %s", (_what, other) => {
    expect(planDigest({ ...INPUT, ...other })).not.toBe(planDigest(INPUT));
  });
});

describe("canonicalJson", () => {
  it("orders members at every depth and leaves arrays alone", () => {
    expect(canonicalJson({ b: [{ d: 1, c: 2 }], a: null })).toBe('{"a":null,"b":[{"c":2,"d":1}]}');
  });
});
