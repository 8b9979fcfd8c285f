import { expect, it } from "vitest";
import { sameWrites } from "./write-counters.ts";

const counts = (inserted: number, updated: number, deleted: number) => ({ inserted, updated, deleted });

it("takes an update that moved a row to another partition for what it is: a delete and an insert", () => {
  expect(sameWrites(counts(3, 1, 3), counts(1, 3, 1))).toBe(true);
});

it.each([
  [counts(1, 0, 0), counts(0, 0, 0)],
  [counts(0, 1, 0), counts(0, 0, 0)],
  [counts(0, 0, 1), counts(0, 0, 0)],
  [counts(1, 2, 1), counts(1, 2, 2)],
])("refuses %o for %o", (written, planned) => {
  expect(sameWrites(written, planned)).toBe(false);
});
