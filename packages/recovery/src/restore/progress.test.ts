import { expect, it } from "vitest";
import type { Progress } from "../verb-context.ts";
import { RestoreProgress } from "./progress.ts";

const MEBIBYTE = 1_048_576;
const table = (label: string, rawBytes: number) => ({ label, archived: { rawBytes } });

it("tells of the rows and bytes that were read, and never goes back", () => {
  const told: Progress[] = [];
  const [large, small] = [table("public.large", 100 * MEBIBYTE), table("public.small", 100)];
  const progress = new RestoreProgress([large, small], (each) => told.push(each));
  for (let chunk = 1; chunk <= 1_000; chunk += 1) progress.reading(large, chunk * 10, (chunk * MEBIBYTE) / 10);
  expect(told.length, "a report per mebibyte").toBe(100);
  expect(told.at(49)?.tables).toEqual([
    { table: "public.large", rows: 5_000, bytes: 50 * MEBIBYTE, done: false },
    { table: "public.small", rows: 0, bytes: 0, done: false },
  ]);
  progress.compared(large);
  progress.reading(small, 3, 100);
  progress.compared(small);
  expect(told.at(-1)).toMatchObject({ phase: "comparing", share: 0.8 });
  expect(told.at(-1)?.tables).toEqual([
    { table: "public.large", rows: 10_000, bytes: 100 * MEBIBYTE, done: true },
    { table: "public.small", rows: 3, bytes: 100, done: true },
  ]);
  progress.enter("checking");
  progress.enter("applying");
  progress.enter("verifying");
  progress.enter("verifying", 0.5);
  progress.enter("verifying", 1);
  const shares = told.map(({ share }) => share);
  expect(shares).toEqual(shares.toSorted((a, b) => a - b));
  expect(told.at(-1)).toMatchObject({ phase: "verifying", share: 1 });
});

it("stays within its phase when a table has grown far beyond its backup", () => {
  const told: Progress[] = [];
  const grown = table("public.grown", 1_000);
  const progress = new RestoreProgress([grown], (each) => told.push(each));
  progress.reading(grown, 1, 500 * MEBIBYTE);
  expect(told.at(-1)?.share).toBeLessThan(0.8);
});
