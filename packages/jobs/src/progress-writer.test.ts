import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { etaMs, ProgressWriter } from "./progress-writer.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const report = (share: number) => ({ phase: "copy", share, tables: [] });

test("writes the newest at most every half second, and of what is soon over nothing", async () => {
  const written: number[] = [];
  const writer = new ProgressWriter(async (progress) => {
    written.push(progress.share);
  });
  for (let share = 0; share < 1_000; share += 1) {
    if (share === 249) expect(written).toEqual([]);
    writer.report(report(share / 1_000));
    await vi.advanceTimersByTimeAsync(1);
  }
  expect(written).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(written.at(-1)).toBe(0.999);
});

test("never writes twice at once: a slow database gets the newest, not a queue", async () => {
  const written: number[] = [];
  let finish = (): void => {};
  const writer = new ProgressWriter((progress) => {
    written.push(progress.share);
    return new Promise((resolve) => {
      finish = resolve;
    });
  });
  writer.report(report(0.1));
  writer.report(report(0.2));
  await vi.advanceTimersByTimeAsync(5_000);
  writer.report(report(0.3));
  expect(written).toEqual([0.2]);
  finish();
  await vi.advanceTimersByTimeAsync(1);
  expect(written).toEqual([0.2, 0.3]);
});

test("writes nothing after it was closed", async () => {
  const write = vi.fn(async () => {});
  const writer = new ProgressWriter(write);
  writer.report(report(0.1));
  await vi.advanceTimersByTimeAsync(300);
  writer.report(report(0.2));
  writer.close();
  writer.report(report(0.3));
  await vi.advanceTimersByTimeAsync(5_000);
  expect(write).toHaveBeenCalledTimes(1);
});

test("the estimate follows the share of the time so far", () => {
  expect(etaMs(0, 1_000)).toBeNull();
  expect(etaMs(Number.NaN, 1_000)).toBeNull();
  expect(etaMs(0.25, 1_000)).toBe(3_000);
  expect(etaMs(1, 1_000)).toBe(0);
});
