import { StorageError, type StorageErrorCode } from "@rowback/storage";
import pg from "pg";
import { describe, expect, it } from "vitest";
import { type ErrorCode, RecoveryError } from "../errors.ts";
import { toRecoveryError } from "./source-error.ts";

function serverError(code: string, fields: Partial<pg.DatabaseError> = {}): pg.DatabaseError {
  return Object.assign(new pg.DatabaseError("what the server said", 0, "error"), { code, ...fields });
}

function nodeError(code: string): Error {
  return Object.assign(new Error(`connect ${code} 10.0.0.1:5432`), { code });
}

const BY_SQLSTATE: readonly [string, ErrorCode, boolean][] = [
  ["28P01", "source_auth_failed", false],
  ["28000", "source_auth_failed", false],
  ["42501", "source_privilege_missing", false],
  ["08006", "source_unreachable", true],
  ["08P01", "source_unreachable", true],
  ["57P01", "source_unreachable", true],
  ["57P02", "source_unreachable", true],
  ["57P03", "source_unreachable", true],
  ["53300", "source_unreachable", true],
  ["40001", "source_conflict", true],
  ["40P01", "source_conflict", true],
  ["55P03", "source_conflict", true],
  ["57014", "source_conflict", true],
  ["42P01", "source_conflict", true],
  ["3D000", "source_not_configured", false],
  ["23503", "integrity_failed", false],
  ["23505", "integrity_failed", false],
  ["53100", "source_error", true],
  ["25006", "source_error", false],
  ["22P02", "source_error", false],
  ["42601", "source_error", false],
  ["XX000", "source_error", false],
];

describe("toRecoveryError", () => {
  it.each(BY_SQLSTATE)("takes SQLSTATE %s for %s, retryable %s, with a hint", (state, code, retryable) => {
    const error = toRecoveryError(serverError(state), { sourceId: "s" });
    expect(error).toMatchObject({ code, retryable, context: { sourceId: "s" } });
    expect(error.hint).toMatch(/^[A-Z].*\.$/);
    expect(error.message).toContain(state);
  });

  it.each(["check_enable_rls", "ExecWithCheckOptions"])("tells row-level security by the C routine %s", (routine) => {
    expect(toRecoveryError(serverError("42501", { routine })).code).toBe("source_rls_active");
  });

  it.each(["ECONNREFUSED", "ECONNRESET", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "EHOSTUNREACH", "EPIPE"])(
    "takes %s for an unreachable source, without its address",
    (code) => {
      const error = toRecoveryError(nodeError(code));
      expect(error).toMatchObject({ code: "source_unreachable", retryable: true });
      expect(error.message).not.toContain("10.0.0.1");
    },
  );

  it("looks into node's error of several addresses", () => {
    const error = new AggregateError([nodeError("ECONNREFUSED"), nodeError("ENETUNREACH")]);
    expect(toRecoveryError(error).code).toBe("source_unreachable");
  });

  it("takes an untrusted certificate for a wrong configuration", () => {
    expect(toRecoveryError(nodeError("SELF_SIGNED_CERT_IN_CHAIN")).code).toBe("source_not_configured");
  });

  it("tells a missing password from a slow network, neither of which has a code", () => {
    const failure = new Error("no code");
    const connecting = { hasPassword: false, timedOut: false };
    expect(toRecoveryError(failure, { connecting }).code).toBe("source_auth_failed");
    expect(toRecoveryError(failure, { connecting: { ...connecting, timedOut: true } }).code).toBe("source_unreachable");
    expect(toRecoveryError(failure, { connecting: { ...connecting, hasPassword: true } }).code).toBe(
      "source_unreachable",
    );
    expect(toRecoveryError(failure, { connectionLost: true }).code).toBe("source_unreachable");
  });

  it("calls whatever an abort caused cancelled, or by the abort's own reason", () => {
    const aborted = new AbortController();
    aborted.abort();
    expect(toRecoveryError(serverError("57014"), { signal: aborted.signal }).code).toBe("cancelled");
    const lost = new AbortController();
    lost.abort(new RecoveryError("lease_lost", "Another worker took over."));
    expect(toRecoveryError(serverError("57014"), { signal: lost.signal }).code).toBe("lease_lost");
    expect(toRecoveryError(new DOMException("x", "AbortError")).code).toBe("cancelled");
  });

  it("leaves a RecoveryError as it is, and adds the context it lacks", () => {
    const error = toRecoveryError(new RecoveryError("plan_stale", "moved", { table: "a.b" }), {
      table: "c.d",
      runId: "r",
    });
    expect(error).toMatchObject({ code: "plan_stale", context: { table: "a.b", runId: "r" } });
  });

  const BY_STORAGE: readonly [StorageErrorCode, ErrorCode, boolean][] = [
    ["object_missing", "archive_damaged", false],
    ["object_exists", "conflict", false],
    ["invalid_key", "internal", false],
    ["store_unreachable", "store_unreachable", true],
    ["store_denied", "store_denied", false],
    ["store_full", "store_full", true],
    ["store_error", "store_error", true],
  ];
  it.each(BY_STORAGE)("takes the storage's %s for %s, retryable %s", (code, expected, retryable) => {
    const error = toRecoveryError(new StorageError(code, "the store said no"));
    expect(error).toMatchObject({ code: expected, retryable });
    expect(error.hint).toBeDefined();
  });

  it("repeats no row's value: neither a data error's message nor its detail, and keeps no cause that would", () => {
    const secret = "4111-1111-1111-1111";
    for (const state of ["22P02", "23505", "P0001", "42601"]) {
      const error = toRecoveryError(
        serverError(state, { message: `bad ${secret}`, detail: `Key (card)=(${secret})`, constraint: "card_key" }),
      );
      expect(JSON.stringify([error.message, error.hint, error.context, error.cause])).not.toContain(secret);
      expect(error.message).toContain("card_key");
    }
  });

  it("calls everything else internal, with its cause", () => {
    const defect = new TypeError("x is not a function");
    expect(toRecoveryError(defect)).toMatchObject({ code: "internal", cause: defect });
    expect(toRecoveryError("text").code).toBe("internal");
  });
});
