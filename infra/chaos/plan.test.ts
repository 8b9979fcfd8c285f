import { expect, test } from "vitest";
import { describeFault, type PlanOptions, planFaults } from "./plan.ts";

const options: PlanOptions = { seed: 1, faults: 200, store: "s3", everyMs: 2_000, leaseMs: 4_000 };

test("the same seed gives the same plan, another one another", () => {
  expect(planFaults(options)).toEqual(planFaults({ ...options }));
  expect(planFaults({ ...options, seed: 2 })).not.toEqual(planFaults(options));
});

test("a longer plan begins with the shorter one", () => {
  expect(planFaults(options).slice(0, 15)).toEqual(planFaults({ ...options, faults: 15 }));
});

test("all faults are there, in the order of their moments, and every kind among the first deck", () => {
  const plan = planFaults(options);
  expect(plan).toHaveLength(200);
  expect(plan.map(({ atMs }) => atMs)).toEqual(plan.map(({ atMs }) => atMs).toSorted((a, b) => a - b));
  const kinds = new Set(plan.map(({ fault }) => fault.kind));
  expect(new Set(plan.slice(0, 19).map(({ fault }) => fault.kind))).toEqual(kinds);
});

test("a freeze outlasts the lease, and a store in a folder gets no faults of HTTP", () => {
  const plan = planFaults({ ...options, store: "file" });
  for (const { fault } of plan) {
    if (fault.kind === "freeze") expect(fault.forMs).toBeGreaterThan(options.leaseMs);
    expect(describeFault(fault)).not.toMatch(/store_(answers|loses|slow|cut)|service=store/);
  }
});
