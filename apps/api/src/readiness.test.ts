import { expect, test } from "vitest";
import { readReadiness, summaryOf } from "./readiness.ts";

test("what one worker found unwell counts, and each source once", () => {
  expect(summaryOf([])).toEqual({ workers: 0, store: "closed", sources: { known: 0, unwell: 0 } });
  const reports = [
    {
      worker: "a",
      breakers: [
        { dependency: "store", state: "closed" } as const,
        { dependency: "source:1", state: "open" } as const,
        { dependency: "source:2", state: "closed" } as const,
      ],
    },
    {
      worker: "b",
      breakers: [
        { dependency: "store", state: "half_open" } as const,
        { dependency: "source:1", state: "half_open" } as const,
      ],
    },
  ];
  expect(summaryOf(reports)).toEqual({ workers: 2, store: "half_open", sources: { known: 2, unwell: 1 } });
});

test("reports that can't be had, or not in time, are null, and the rest is said all the same", async () => {
  const well = async (): Promise<void> => {};
  const probes = { database: well, redis: well, store: well };
  const silent = (): Promise<never> => new Promise(() => {});
  for (const reports of [silent, () => Promise.reject(new Error("the database is away"))]) {
    expect(await readReadiness(probes, reports, 50)).toMatchObject({ ready: true, breakers: null });
  }
});
