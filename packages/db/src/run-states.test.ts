import { expect, test } from "vitest";
import { hasEnded, RUN_STATES } from "./run-states.ts";

test("a run has ended in the states that nothing leads out of", () => {
  expect(RUN_STATES.filter(hasEnded)).toEqual(["succeeded", "failed", "cancelled"]);
});
