import { afterEach, expect, test, vi } from "vitest";
import { RunWatcher, type WatchedRun } from "./run-watcher.ts";

const watchers: RunWatcher<WatchedRun>[] = [];
afterEach(() => {
  for (const watcher of watchers.splice(0)) watcher.close();
});

function watcherOver(rows: Map<string, WatchedRun>): { watcher: RunWatcher<WatchedRun>; queries: string[][] } {
  const queries: string[][] = [];
  const watcher = new RunWatcher<WatchedRun>({
    load: async (ids) => {
      queries.push([...ids]);
      return ids.flatMap((id) => rows.get(id) ?? []);
    },
    hasEnded: (run) => run.status === "succeeded",
    onError: () => {},
    intervalMs: 5,
  });
  watchers.push(watcher);
  return { watcher, queries };
}

function run(id: string, status: string, updatedAt = 0): WatchedRun {
  return { id, status, updatedAt: new Date(updatedAt) };
}

test("many readers of many runs cost one query per interval", async () => {
  const rows = new Map([run("a", "running"), run("b", "running")].map((row) => [row.id, row]));
  const { watcher, queries } = watcherOver(rows);
  const signal = new AbortController().signal;
  const ends = ["a", "a", "b", "a"].map((id) => watcher.waitForEnd(id, 5_000, signal));
  await vi.waitFor(() => expect(queries.length).toBeGreaterThan(2));
  rows.set("a", run("a", "succeeded", 1));
  rows.set("b", run("b", "succeeded", 1));
  expect((await Promise.all(ends)).map((end) => end?.status)).toEqual(Array(4).fill("succeeded"));
  for (const ids of queries.slice(1)) expect(ids).toEqual([...new Set(ids)]);
  expect(watcher.size).toBe(0);
});

test("a watch tells each state once, says when it is quiet, and ends with the run", async () => {
  const rows = new Map([["a", run("a", "running")]]);
  const { watcher } = watcherOver(rows);
  const told: (string | null)[] = [];
  for await (const state of watcher.watch("a", { quietMs: 20, signal: new AbortController().signal })) {
    told.push(state?.status ?? null);
    if (told.length === 2) rows.set("a", run("a", "succeeded", 1));
  }
  expect(told[0]).toBe("running");
  expect(told.slice(1, -1).every((state) => state === null)).toBe(true);
  expect(told.at(-1)).toBe("succeeded");
});

test("waiting ends at the time-out, at the reader's leaving and at the close", async () => {
  const { watcher } = watcherOver(new Map([["a", run("a", "running")]]));
  const leaving = new AbortController();
  const [timedOut, left] = [
    watcher.waitForEnd("a", 10, leaving.signal),
    watcher.waitForEnd("a", 60_000, leaving.signal),
  ];
  expect(await timedOut).toBeNull();
  leaving.abort();
  expect(await left).toBeNull();
  const closed = watcher.waitForEnd("a", 60_000, new AbortController().signal);
  watcher.close();
  expect(await closed).toBeNull();
  expect(watcher.size).toBe(0);
});

test("a database that is away for a moment ends no watch", async () => {
  let down = true;
  const errors: unknown[] = [];
  const watcher = new RunWatcher<WatchedRun>({
    load: async () => {
      if (down) throw new Error("down");
      return [run("a", "succeeded")];
    },
    hasEnded: () => true,
    onError: (error) => errors.push(error),
    intervalMs: 5,
  });
  watchers.push(watcher);
  const end = watcher.waitForEnd("a", 5_000, new AbortController().signal);
  await vi.waitFor(() => expect(errors.length).toBeGreaterThan(0));
  down = false;
  expect((await end)?.id).toBe("a");
});
