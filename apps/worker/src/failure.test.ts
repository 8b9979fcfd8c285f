import { toRecoveryError } from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";
import { StorageError } from "@rowback/storage";
import { expect, test } from "vitest";
import { ControlDatabaseError } from "./control.ts";
import { classify } from "./failure.ts";

test("a RecoveryError keeps its code, hint, table and retryability", () => {
  const error = new RecoveryError("source_unreachable", "no answer", { hint: "Start it.", table: "public.orders" });
  expect(classify(error)).toEqual({
    code: "source_unreachable",
    message: "no answer",
    hint: "Start it.",
    table: "public.orders",
    retryable: true,
  });
});

test("a StorageError is told in the words of the catalogue", () => {
  expect(classify(new StorageError("store_full", "no space"))).toMatchObject({ code: "store_full", retryable: true });
  expect(classify(new StorageError("store_denied", "no"))).toMatchObject({ code: "store_denied", retryable: false });
});

test("a control database that is away is worth another attempt; one that refuses a statement is a defect", () => {
  const away = Object.assign(new Error("terminating connection"), { code: "57P01", severity: "FATAL" });
  const defect = Object.assign(new Error("column x does not exist"), { code: "42703", severity: "ERROR" });
  const network = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
  expect(
    [away, network, new Error("Connection terminated")].map((error) => new ControlDatabaseError(error).retryable),
  ).toEqual([true, true, true]);
  expect(classify(new ControlDatabaseError(network))).toMatchObject({ code: "unavailable", retryable: true });
  expect(classify(new ControlDatabaseError(defect))).toMatchObject({ code: "internal", retryable: false });
});

test("so it is when a verb met it, which knows nothing of a control database and calls it internal", () => {
  const away = new ControlDatabaseError(new Error("Connection terminated"));
  expect(classify(toRecoveryError(away, { table: "public.orders" }))).toMatchObject({
    code: "unavailable",
    retryable: true,
    table: "public.orders",
  });
  const inVerb = classify(toRecoveryError(new SyntaxError('Unexpected token, "secret" is not valid JSON')));
  expect(inVerb).toMatchObject({ code: "internal", retryable: false, message: "A defect in Rowback: SyntaxError." });
  expect(classify(new RecoveryError("internal", "A lane met something else than rows")).message).toContain("lane");
});

test("anything else is a defect, whose words stay out of the row", () => {
  for (const thrown of [new TypeError("postgres://admin:secret@db is not iterable"), "secret", undefined]) {
    const failure = classify(thrown);
    expect(failure).toMatchObject({ code: "internal", retryable: false });
    expect(JSON.stringify(failure)).not.toContain("secret");
  }
});
