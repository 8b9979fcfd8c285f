import type { Membership } from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import { expect, test } from "vitest";
import { chooseMembership } from "./membership.ts";

const [A, B, C] = ["a", "b", "c"].map((letter) => `${letter.repeat(8)}-0000-4000-8000-000000000000`);
const of = (...ids: (string | undefined)[]): Membership[] =>
  ids.map((tenantId = "") => ({ tenantId, tenantName: "t", role: "member" }));

function chosen(memberships: readonly Membership[], named: string | undefined, needsTenant: boolean): string | null {
  try {
    return chooseMembership(memberships, named, needsTenant)?.tenantId ?? null;
  } catch (error) {
    return error instanceof RecoveryError ? error.code : "defect";
  }
}

test.each([
  ["the only one, unnamed", of(A), undefined, true, A],
  ["one of two, by name", of(A, B), B, true, B],
  ["by name in capitals", of(A, B), B?.toUpperCase(), true, B],
  ["of two, unnamed", of(A, B), undefined, true, "invalid_request"],
  ["of two, unnamed, where none is needed", of(A, B), undefined, false, null],
  ["of none", of(), undefined, true, "forbidden"],
  ["of none, where none is needed", of(), undefined, false, null],
  ["another's", of(A, B), C, true, "not_found"],
  ["another's, where none is needed", of(), C, false, "not_found"],
  ["no id", of(A), "a", true, "invalid_request"],
  ["nothing", of(A), "", true, "invalid_request"],
])("%s", (_, memberships, named, needsTenant, expected) => {
  expect(chosen(memberships, named, needsTenant)).toBe(expected);
});
