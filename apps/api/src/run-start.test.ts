import { expect, test } from "vitest";
import { preferredWait, requestedRun } from "./run-start.ts";

test.each([
  [undefined, 0],
  ["", 0],
  ["wait=10", 10],
  ["respond-async, wait=10", 10],
  ['Wait="7"; x=1', 7],
  ["wait=9999", 60],
  ["await=10", 0],
  ["wait=-1", 0],
  ["wait=soon", 0],
])("Prefer: %s waits %d seconds", (header, seconds) => {
  expect(preferredWait(header)).toBe(seconds);
});

function digest(url: string, body: unknown, method = "POST"): string | undefined {
  return requestedRun("backup", { headers: { "idempotency-key": "k" }, method, url, body }, "u").idempotency?.digest;
}

test("a request's digest is the same for the same request, however its members are ordered", () => {
  expect(digest("/v1/backups", { a: 1, b: { c: 2, d: 3 } })).toBe(
    digest("/v1/backups?x=1", { b: { d: 3, c: 2 }, a: 1 }),
  );
});

test.each([
  ["another body", digest("/v1/backups", { a: 2 })],
  ["another route", digest("/v1/restores", { a: 1 })],
  ["another order of a list", digest("/v1/backups", [2, 1])],
])("%s is another request", (_, other) => {
  expect(other).not.toBe(digest("/v1/backups", { a: 1 }));
  expect(other).not.toBe(digest("/v1/backups", [1, 2]));
});
