import { expect, test } from "vitest";
import { RecentReads } from "./audit-reads.ts";

function recentReads(most = 100) {
  const clock = { now: 0 };
  const written: string[] = [];
  const reads = new RecentReads(60_000, most, () => clock.now);
  const read = (key: string) => reads.note(key, async () => void written.push(key));
  return { clock, written, reads, read };
}

test("the first read of a minute is written, the others stand on it, and the next minute has its own", async () => {
  const { clock, written, read } = recentReads();
  await Promise.all([read("a"), read("a"), read("b")]);
  clock.now = 59_999;
  await read("a");
  expect(written).toEqual(["a", "b"]);
  clock.now = 60_000;
  await read("a");
  expect(written).toEqual(["a", "b", "a"]);
});

test("when there are too many to remember, the oldest is written again: one too many, never one too few", async () => {
  const { written, reads, read } = recentReads(3);
  for (const key of ["a", "b", "c", "d", "e"]) await read(key);
  expect(reads.size).toBe(3);
  await read("e");
  await read("a");
  expect(written).toEqual(["a", "b", "c", "d", "e", "a"]);
});

test("nobody stands on an entry that could not be written", async () => {
  const { written, reads, read } = recentReads();
  const failing = () => reads.note("a", () => Promise.reject(new Error("no space left")));
  const both = await Promise.allSettled([failing(), read("a")]);
  expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  await read("a");
  expect(written).toEqual(["a"]);
});
