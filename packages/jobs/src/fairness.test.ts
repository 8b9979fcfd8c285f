import { expect, test, vi } from "vitest";
import { FairTurns } from "./fairness.ts";
import { MemoryLedger } from "./testing/memory-ledger.ts";

const NEVER_MS = 3_600_000;

function turnsOf(ledger: MemoryLedger, pollMs = NEVER_MS): FairTurns<unknown> {
  return new FairTurns({ queue: "backups", ledger, pollMs });
}

test("free hands that come together ask in one statement", async () => {
  const ledger = new MemoryLedger();
  const runs = Array.from({ length: 8 }, () => ledger.add());
  const turns = turnsOf(ledger);
  const given = await Promise.all(runs.map(() => turns.next()));
  expect(given.map((turn) => turn?.claim.runId)).toEqual(runs.map((run) => run.id));
  expect(ledger.asked).toEqual([{ queue: "backups", wanted: 8 }]);
});

test("where nothing is due, a hand is sent home at once", async () => {
  const ledger = new MemoryLedger();
  ledger.add({ name: "restore" });
  expect(await turnsOf(ledger).next()).toBeNull();
});

test("where a limit holds the others up, a hand waits until a run of this process ends", async () => {
  const ledger = new MemoryLedger();
  ledger.most = 1;
  const [first, second] = [ledger.add(), ledger.add()];
  const turns = turnsOf(ledger);
  const turn = await turns.next();
  expect(turn?.claim.runId).toBe(first.id);
  const waiting = turns.next();
  await vi.waitFor(() => expect(ledger.asked).toHaveLength(2));
  first.status = "succeeded";
  turns.freed();
  expect((await waiting)?.claim.runId).toBe(second.id);
  expect(second.attempt).toBe(1);
});

test("a run of another process that ended is noticed all the same", async () => {
  const ledger = new MemoryLedger();
  ledger.most = 1;
  const [elsewhere, mine] = [ledger.add(), ledger.add()];
  await ledger.claim(elsewhere.id);
  const waiting = turnsOf(ledger, 20).next();
  await vi.waitFor(() => expect(ledger.asked.length).toBeGreaterThan(1));
  elsewhere.status = "succeeded";
  expect((await waiting)?.claim.runId).toBe(mine.id);
});

test("hands that wait cost one question a moment, however many they are", async () => {
  const ledger = new MemoryLedger();
  ledger.most = 0;
  ledger.add();
  const turns = turnsOf(ledger);
  const waiting = Array.from({ length: 20 }, () => turns.next());
  await vi.waitFor(() => expect(ledger.asked).toHaveLength(1));
  turns.freed();
  await vi.waitFor(() => expect(ledger.asked).toHaveLength(2));
  turns.close();
  expect(await Promise.all(waiting)).toEqual(waiting.map(() => null));
});

test("closing sends home those who wait, and those who come later", async () => {
  const ledger = new MemoryLedger();
  ledger.most = 0;
  ledger.add();
  const turns = turnsOf(ledger);
  const waiting = turns.next();
  await vi.waitFor(() => expect(ledger.asked).toHaveLength(1));
  turns.close();
  expect(await waiting).toBeNull();
  expect(await turns.next()).toBeNull();
});

test("a database that does not answer is each hand's to know, and the next one asks anew", async () => {
  const ledger = new MemoryLedger();
  const run = ledger.add();
  const turns = turnsOf(ledger);
  ledger.down = true;
  await expect(turns.next()).rejects.toThrow("connection terminated");
  ledger.down = false;
  expect((await turns.next())?.claim.runId).toBe(run.id);
});
