import fc from "fast-check";
import { expect, test } from "vitest";
import { JOBS, JobName, QUEUES, RunPayload, retryDelayMs } from "./catalog.ts";

test("the names of the catalogue and of its schema are the same", () => {
  expect(Object.keys(JOBS).sort()).toEqual([...JobName.options].sort());
  for (const job of Object.values(JOBS)) expect(QUEUES).toContain(job.queue);
});

test("a payload carries an id and nothing else", () => {
  expect(RunPayload.safeParse({ runId: "not-an-id" }).success).toBe(false);
  expect(RunPayload.safeParse({ runId: "018f4b1e-7f2a-7000-8000-000000000000", url: "postgres://" }).success).toBe(
    false,
  );
});

test("waits double, are jittered, and never leave their bounds", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...JobName.options),
      fc.integer({ min: 1, max: 60 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (name, attempt, random) => {
        const { minMs, maxMs } = JOBS[name].backoff;
        const wait = retryDelayMs(name, attempt, random);
        expect(wait).toBeGreaterThanOrEqual(minMs / 2);
        expect(wait).toBeLessThanOrEqual(maxMs);
      },
    ),
  );
  expect([1, 2, 3, 4, 5, 6].map((attempt) => retryDelayMs("backup", attempt, 1))).toEqual([
    5_000, 10_000, 20_000, 40_000, 80_000, 120_000,
  ]);
  expect(retryDelayMs("backup", 1, 0)).toBe(2_500);
});
