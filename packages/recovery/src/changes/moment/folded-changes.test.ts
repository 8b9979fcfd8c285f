import { expect, test } from "vitest";
import { CountedChanges } from "./counted-changes.ts";
import { KeyedChanges } from "./keyed-changes.ts";
import { type FoldedChanges, type Pass, passOf, type RowChange } from "./row-change.ts";

const ALL: Pass = { number: 0, passes: 1, linked: new Set() };
const keyed = (): FoldedChanges => new KeyedChanges({ table: "app.t", key: [0], pass: ALL });
const counted = (): FoldedChanges => new CountedChanges("app.t", ALL);

const insert = (...row: string[]): RowChange => ({ op: "insert", row, shared: false, lsn: 1n });
const remove = (...row: string[]): RowChange => ({ op: "delete", row, shared: false, lsn: 1n });
const update = (old: string[] | null, ...row: string[]): RowChange => ({
  op: "update",
  old,
  row,
  shared: false,
  lsn: 1n,
});
const shared = (change: RowChange): RowChange => ("shared" in change ? { ...change, shared: true } : change);
const arrived = (...row: string[]): RowChange => ({ op: "moved", row, toUs: true, lsn: 1n });
const left = (...row: string[]): RowChange => ({ op: "moved", row, toUs: false, lsn: 1n });
const at = (lsn: bigint, change: RowChange): RowChange => ({ ...change, lsn });

/** The rows of base and changes, separated by commas. */
function fold(changes: FoldedChanges, log: readonly RowChange[], base: readonly string[] = []): string[] {
  for (const change of log) changes.apply(change);
  const rows: string[] = [];
  for (const row of changes.truncated ? [] : base.map((text) => text.replaceAll(",", "\t"))) {
    const fate = changes.meet(row);
    if (fate === "kept") rows.push(row);
    else if (typeof fate === "object") rows.push(fate.row);
  }
  for (const { row, claimed } of changes.added()) rows.push(claimed ? `${row}?` : row);
  return rows.map((row) => row.replaceAll("\t", ",")).toSorted();
}

const U = "\\U";

test.each<[string, RowChange[], string[], string[]]>([
  ["keeps what is not spoken of", [insert("2", "b")], ["1,a"], ["1,a", "2,b"]],
  ["takes values that were not carried from the base", [update(null, "1", U, "new")], ["1,big,old"], ["1,big,new"]],
  [
    "carries them along when the key changes, and again",
    [update(["1", U], "2", U), update(["2", U], "3", U)],
    ["1,big"],
    ["3,big"],
  ],
  ["takes them from a row of the log", [insert("1", "big", "a"), update(null, "1", U, "b")], [], ["1,big,b"]],
  ["forgets a row that is written and deleted", [update(null, "1", U), remove("1", U)], ["1,a"], []],
  ["lets a key be used again", [remove("1", U), insert("1", "b")], ["1,a"], ["1,b"]],
  [
    "counts 1.0 and 1.00 as two texts, and follows the row from one to the other",
    [update(["1.0", U], "1.00", "b")],
    ["1.0,a"],
    ["1.00,b"],
  ],
  [
    "removes all on TRUNCATE, and goes on",
    [insert("2", "b"), { op: "truncate", lsn: 1n }, insert("3", "c")],
    ["1,a"],
    ["3,c"],
  ],
  ["deletes a row of nobody known if the tenant has it", [shared(remove("1", U)), shared(remove("9", U))], ["1,a"], []],
  [
    "updates a row of nobody known if the base has it",
    [shared(update(null, "1", "b")), shared(update(null, "9", "c"))],
    ["1,a"],
    ["1,b"],
  ],
  [
    "follows a row of nobody known to a new key",
    [shared(update(["1", U], "2", U)), shared(update(["8", U], "9", U))],
    ["1,a"],
    ["2,a"],
  ],
  ["leaves a new row of nobody known to be claimed", [shared(insert("5", "x"))], [], ["5,x?"]],
  ["takes it for ours once a change says so", [shared(insert("5", "x")), update(null, "5", "y")], [], ["5,y"]],
  ["lets a row come from nobody knows whom", [arrived("5", U), update(null, "5", "y")], [], ["5,y"]],
  ["and tells of it after the update as well", [update(null, "5", "y"), arrived("5", U)], [], ["5,y"]],
  [
    "lets a row that left come back",
    [left("1", U), at(2n, arrived("1", U)), at(2n, update(null, "1", "b"))],
    ["1,a"],
    ["1,b"],
  ],
  ["lets a row go to another tenant", [left("1", U), left("9", U)], ["1,a"], []],
])("a table with a key: %s", (_, log, base, rows) => {
  expect(fold(keyed(), log, base)).toEqual(rows);
});

test.each<[string, RowChange[], string[]]>([
  ["an update of a row that the base does not have", [update(null, "1", "b")], []],
  ["an update of values that nobody has", [update(null, "1", U)], []],
  ["an update of a row that was deleted", [remove("1", U), update(null, "1", "b"), at(2n, insert("2", "c"))], ["1,a"]],
  ["a delete of a row that was deleted", [remove("1", U), remove("1", U)], ["1,a"]],
  ["a delete of a row that the base does not have", [remove("1", U)], []],
  ["an insert of a row that the base has", [insert("1", "b")], ["1,a"]],
  ["an insert of a row that is there", [insert("1", "b"), insert("1", "c")], []],
  ["a row that takes the key of another", [insert("2", "b"), update(["1", U], "2", "a")], ["1,a"]],
  ["a change that does not say of which row it is", [remove(U, "a")], ["1,a"]],
  ["a delete after everything was truncated", [{ op: "truncate", lsn: 1n }, remove("1", U)], ["1,a"]],
])("a table with a key refuses %s", (_, log, base) => {
  expect(() => fold(keyed(), log, base)).toThrow(expect.objectContaining({ code: "change_log_damaged" }));
});

test("a row that came from another tenant without its values can't be had, which is no damage", () => {
  expect(() => fold(keyed(), [arrived("5", U), update(null, "5", U)])).toThrow(
    expect.objectContaining({ code: "moment_unreachable" }),
  );
});

test.each<[string, RowChange[], string[], boolean]>([
  ["an update of a row that was ours all along", [arrived("1", U), update(null, "1", "b")], ["1,a"], false],
  ["and of one of the log", [insert("5", "x"), at(2n, arrived("5", U)), at(2n, update(null, "5", "y"))], [], false],
  ["an update of another tenant's row", [left("9", U), at(2n, left("9", U))], ["1,a"], false],
  ["a row that came", [arrived("5", U), update(null, "5", "y")], ["1,a"], true],
  [
    "a row that came after one of this key was deleted",
    [remove("1", U), at(2n, arrived("1", U)), at(2n, update(null, "1", "b"))],
    ["1,a"],
    true,
  ],
  ["a row of the base that went", [left("1", U)], ["1,a"], true],
  ["a row of the log that went", [insert("5", "x"), at(2n, left("5", U))], [], true],
  ["a row of nobody known that went", [shared(update(null, "1", "b")), at(2n, left("1", U))], ["1,a"], true],
])("whether a row crossed between tenants is told: %s", (_, log, base, crossed) => {
  const changes = keyed();
  fold(changes, log, base);
  expect(changes.crossed).toBe(crossed);
});

test.each<[string, RowChange[], string[], string[]]>([
  ["removes one of two equal rows", [remove("1", "a")], ["1,a", "1,a", "1,b"], ["1,a", "1,b"]],
  ["replaces one", [update(["1", "a"], "1", "c")], ["1,a", "1,a"], ["1,a", "1,c"]],
  [
    "exchanges keys under a deferred rule",
    [update(["1", "a"], "2", "a"), update(["2", "b"], "1", "b")],
    ["1,a", "2,b"],
    ["1,b", "2,a"],
  ],
  ["takes what was not carried from the old row", [update(["1", "big"], "2", U)], ["1,big"], ["2,big"]],
  [
    "deletes a row of nobody known if the tenant has it",
    [shared(remove("1", "a")), shared(remove("9", "a"))],
    ["1,a"],
    [],
  ],
  ["leaves a new row of nobody known to be claimed", [shared(insert("5", "x"))], [], ["5,x?"]],
  ["but not beside an equal one of ours", [shared(insert("5", "x"))], ["5,x"], ["5,x", "5,x"]],
  ["removes all on TRUNCATE, and goes on", [insert("2"), { op: "truncate", lsn: 1n }, insert("3")], ["1"], ["3"]],
])("a table with whole old rows %s", (_, log, base, rows) => {
  expect(fold(counted(), log, base)).toEqual(rows);
});

test.each<[string, RowChange[], string[]]>([
  ["a delete of a row that is not there", [remove("1", "b")], ["1,a"]],
  ["one delete more than there are rows", [remove("1", "a"), remove("1", "a")], ["1,a"]],
  ["an update without its old row", [update(null, "1", "a")], ["1,a"]],
  ["a row with values missing", [insert("1", U)], []],
])("a table with whole old rows refuses %s", (_, log, base) => {
  expect(() => fold(counted(), log, base)).toThrow(expect.objectContaining({ code: "change_log_damaged" }));
});

test("every row is taken by one pass, and rows that lean on each other by the first", () => {
  const rows = Array.from({ length: 200 }, (_, n) => `${n}`);
  const log: RowChange[] = rows.map((row) => update(null, row, "new"));
  const folded = [0, 1, 2].flatMap((number) => {
    const pass = { number, passes: 3, linked: new Set<string>() };
    return fold(
      new KeyedChanges({ table: "app.t", key: [0], pass }),
      log,
      rows.map((row) => `${row},old`),
    );
  });
  expect(folded.toSorted()).toEqual(rows.map((row) => `${row},new`).toSorted());
  const [from = "", to = ""] = rows.filter((row) => passOf(row, 2) === 1);
  const linked = new Set([from, to]);
  const first = new KeyedChanges({ table: "app.t", key: [0], pass: { number: 0, passes: 2, linked } });
  expect(fold(first, [update([from, U], to, U)], [`${from},big`])).toEqual([`${to},big`]);
});
