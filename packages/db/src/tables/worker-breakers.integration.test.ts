import { afterAll, beforeAll, expect, test } from "vitest";
import { type ControlFixture, controlFixture } from "../testing/control-fixture.ts";
import { listBreakerReports, reportBreakers, withdrawBreakers } from "./worker-breakers.ts";

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("worker-breakers");
});
afterAll(() => control.close());

test("what a worker said last counts, until it says otherwise, ends, or has said nothing for too long", async () => {
  const { system } = control.db;
  const say = (worker: string, state: "closed" | "open", ttlMs = 60_000) =>
    reportBreakers(system, { worker, breakers: [{ dependency: "store", state }], ttlMs });
  const said = async () =>
    (await listBreakerReports(system)).map(({ worker, breakers }) => [worker, breakers[0]?.state]);

  await say("a", "closed");
  await say("b", "open");
  await say("a", "open");
  expect(await said()).toEqual([
    ["a", "open"],
    ["b", "open"],
  ]);
  await withdrawBreakers(system, "b");
  await say("c", "open", -1);
  expect(await said()).toEqual([["a", "open"]]);
  await say("a", "closed");
  const { rowCount } = await system.query({ text: "SELECT FROM worker_breakers" });
  expect([await said(), rowCount]).toEqual([[["a", "closed"]], 1]);
});
