import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { type Breaker, type BreakerStatus, Breakers } from "./breakers.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function breakers(): { all: Breakers; seen: BreakerStatus[] } {
  const seen: BreakerStatus[] = [];
  const all = new Breakers({ settings: { failures: 5, resetMs: 60_000 }, onChange: (status) => seen.push(status) });
  onTestFinished(() => all.close());
  return { all, seen };
}

function fail(breaker: Breaker, times: number): void {
  for (let time = 0; time < times; time += 1) breaker.failed();
}

test("five failures in a row open it, four don't, and a success in between starts the count anew", () => {
  const { all, seen } = breakers();
  const store = all.of("store", async () => undefined);
  fail(store, 4);
  store.succeeded();
  fail(store, 4);
  expect(store.isShut).toBe(false);
  expect(seen).toEqual([]);
  store.failed();
  expect(store.isShut).toBe(true);
  expect(seen).toEqual([{ dependency: "store", state: "open", failures: 5, retryInMs: 60_000 }]);
  expect(all.shut()).toEqual(["store"]);
});

test("after a minute it asks by itself: well again, it closes; still unwell, it waits another minute", async () => {
  const { all, seen } = breakers();
  const probe = vi.fn<() => Promise<unknown>>().mockRejectedValueOnce(new Error("no answer")).mockResolvedValue("here");
  const source = all.of("source:1", probe);
  fail(source, 5);
  await vi.advanceTimersByTimeAsync(59_999);
  expect(probe).not.toHaveBeenCalled();
  expect(source.retryInMs).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(probe).toHaveBeenCalledTimes(1);
  expect(source.isShut).toBe(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(probe).toHaveBeenCalledTimes(2);
  expect(source.isShut).toBe(false);
  expect(seen.map(({ state }) => state)).toEqual(["open", "half_open", "open", "half_open", "closed"]);
  fail(source, 4);
  expect(source.isShut).toBe(false);
});

test("while it is being asked, everybody else still waits", async () => {
  const { all } = breakers();
  let answer = (): void => {};
  const store = all.of("store", () => new Promise<void>((resolve) => (answer = resolve)));
  fail(store, 5);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(all.statuses()).toMatchObject([{ state: "half_open" }]);
  expect(store.isShut).toBe(true);
  // A run that began before the failures ends well: that is no proof.
  store.succeeded();
  expect(store.isShut).toBe(true);
  answer();
  await vi.advanceTimersByTimeAsync(0);
  expect(store.isShut).toBe(false);
});

test("one source's breaker is nobody else's", () => {
  const { all } = breakers();
  const [one, two] = [all.of("source:1", async () => undefined), all.of("source:2", async () => undefined)];
  fail(one, 5);
  expect([one.isShut, two.isShut]).toEqual([true, false]);
  expect(all.of("source:1", async () => undefined)).toBe(one);
  expect([all.known("source:1"), all.known("smtp")]).toEqual([one, null]);
});
