import { Breakers, type Dependency } from "@rowback/jobs";
import { RecoveryError } from "@rowback/recovery/errors";
import { StorageError } from "@rowback/storage";
import { expect, onTestFinished, test } from "vitest";
import { postponeMs, unwellFor } from "./dependencies.ts";
import { classify } from "./failure.ts";

/** Breakers of which these are open. */
function opened(...unwell: readonly Dependency[]): Breakers {
  const breakers = new Breakers({ settings: { failures: 1, resetMs: 60_000 } });
  onTestFinished(() => breakers.close());
  for (const dependency of ["store", "source:1", "source:2", ...unwell] as const) {
    const breaker = breakers.of(dependency, async () => undefined);
    if (unwell.includes(dependency)) breaker.failed();
  }
  return breakers;
}

test("an unwell source holds up its own runs, an unwell store all but discoveries", () => {
  expect(unwellFor("backups", opened())).toEqual([]);
  expect(unwellFor("backups", opened("source:1"))).toEqual(["1"]);
  expect(unwellFor("restores", opened("source:1", "store"))).toBe("all");
  expect(unwellFor("discovery", opened("source:2", "store"))).toEqual(["2"]);
});

test("a run waits for what failed it if that is known to be unwell, until it is asked again or a little longer", () => {
  const unreachable = classify(new RecoveryError("source_unreachable", "no answer", { sourceId: "1" }));
  const wait = postponeMs(unreachable, opened("source:1"));
  expect(wait).toBeGreaterThan(59_000);
  expect(wait).toBeLessThanOrEqual(65_000);
  expect(postponeMs(unreachable, opened("source:2", "store"))).toBeNull();
  const stores = (["store_unreachable", "store_error"] as const).map((code) => classify(new StorageError(code, "no")));
  for (const failure of stores) expect(postponeMs(failure, opened("store"))).not.toBeNull();
  for (const failure of stores) expect(postponeMs(failure, opened("source:1"))).toBeNull();
});

test("a failure that is the run's own costs its attempt, whatever is unwell", () => {
  const all = opened("store", "source:1");
  for (const code of ["store_denied", "store_full", "not_found"] as const) {
    expect(postponeMs(classify(new RecoveryError(code, "no", { sourceId: "1" })), all)).toBeNull();
  }
  for (const code of ["source_auth_failed", "source_error", "source_conflict", "archive_damaged"] as const) {
    expect(postponeMs(classify(new RecoveryError(code, "no", { sourceId: "1" })), all)).toBeNull();
  }
});
