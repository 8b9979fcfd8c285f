import { expect, test } from "vitest";
import { table } from "../postgres/testing/catalog-fixture.ts";
import type { Progress } from "../verb-context.ts";
import type { PlannedTable } from "./plan.ts";
import { observeCopy } from "./progress.ts";

const MEBIBYTE = 1_048_576;

function planned(name: string, bytes: number): PlannedTable {
  return {
    source: table(name, [], { bytes }),
    scope: { kind: "direct", column: "tenant_id" },
    columns: [],
    copy: "COPY (SELECT) TO STDOUT",
  };
}

test("rows and bytes by table, and a share by what the tables weigh, which never goes back and ends at 1", () => {
  const told: Progress[] = [];
  const [large, small] = [planned("large", 300 * MEBIBYTE), planned("small", 100 * MEBIBYTE)];
  const observer = observeCopy([large, small], (progress) => told.push(progress));
  observer.onTable(large, { rows: 10, bytes: 150 * MEBIBYTE, done: false });
  expect(told.at(-1)).toEqual({
    phase: "copy",
    share: 150 / 400,
    tables: [
      { table: "app.large", rows: 10, bytes: 150 * MEBIBYTE, done: false },
      { table: "app.small", rows: 0, bytes: 0, done: false },
    ],
  });
  // The text of a table may be longer than the table: its share waits for its end.
  observer.onTable(large, { rows: 40, bytes: 900 * MEBIBYTE, done: false });
  observer.onTable(small, { rows: 1, bytes: 10, done: true });
  expect(told.at(-1)?.share).toBeLessThan(1);
  observer.onTable(large, { rows: 41, bytes: 901 * MEBIBYTE, done: true });
  expect(told.at(-1)?.share).toBe(1);
  const shares = told.map(({ share }) => share);
  expect(shares).toEqual(shares.toSorted((a, b) => a - b));
});
