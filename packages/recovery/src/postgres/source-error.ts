import { StorageError, type StorageErrorCode } from "@rowback/storage";
import pg from "pg";
import { type ErrorCode, type ErrorContext, RecoveryError } from "../errors.ts";

/** What is known around a failure besides the error. */
export interface FailureContext extends ErrorContext {
  /** The run's signal: when it is aborted, whatever the abort caused is `cancelled`. */
  readonly signal?: AbortSignal | undefined;
  /** Set while no connection was made yet; node-postgres gives several of these failures no code. */
  readonly connecting?: { readonly hasPassword: boolean; readonly timedOut: boolean } | undefined;
  /** The connection ended under the statement; node-postgres gives that no code either. */
  readonly connectionLost?: boolean | undefined;
}

interface Verdict {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
  readonly retryable?: boolean;
}

const UNREACHABLE: Verdict = {
  code: "source_unreachable",
  message: "The source database does not answer",
  hint: "Check that the server runs, and that this machine may reach its host and port.",
};
const AUTH_FAILED: Verdict = {
  code: "source_auth_failed",
  message: "The source database refused the user or password",
  hint: "Correct the source's connection string, or the server's pg_hba.conf.",
};
const RLS_ACTIVE: Verdict = {
  code: "source_rls_active",
  message: "Row-level security would hide rows from Rowback's role",
  hint: "Give the role the right to see all rows: ALTER ROLE <role> BYPASSRLS (or let it own the table, without FORCE).",
};
const PRIVILEGE_MISSING: Verdict = {
  code: "source_privilege_missing",
  message: "The role lacks a privilege on the source",
  hint: "Run discovery to see the GRANT statements that are missing.",
};
const CONFLICT: Verdict = {
  code: "source_conflict",
  message: "The source cancelled the transaction",
  hint: "Try again; if it repeats, choose a quieter moment.",
};
const SCHEMA_MOVED: Verdict = {
  code: "source_conflict",
  message: "The source's schema changed while the run was reading it",
  hint: "Try again; if it repeats, run discovery.",
};
const INTEGRITY: Verdict = {
  code: "integrity_failed",
  message: "A constraint of the source refused a row",
  hint: "Preview again and look at the conflicts; nothing was changed.",
};
const REJECTED: Verdict = {
  code: "source_error",
  message: "The source database rejected a statement",
  hint: "Look up the SQLSTATE in the server's log around this time.",
};
const NOT_TRUSTED: Verdict = {
  code: "source_not_configured",
  message: "The source's TLS certificate is not trusted",
  hint: "Set sslrootcert in the connection string to the certificate authority's file, or correct the host name.",
};

/** By SQLSTATE, or by its first two characters (the class); the whole code is looked up first. */
const BY_SQLSTATE: Readonly<Record<string, Verdict>> = {
  "08": UNREACHABLE,
  "22": { ...REJECTED, message: "The source database rejected a value" },
  "23": INTEGRITY,
  "28": AUTH_FAILED,
  "3D": {
    code: "source_not_configured",
    message: "The database that the source names does not exist",
    hint: "Correct the database's name in the source's connection string.",
  },
  "40": CONFLICT,
  "25006": {
    ...REJECTED,
    message: "The source is read-only",
    hint: "Restore into the primary, not into a standby or a read-only role.",
  },
  "25P03": CONFLICT,
  "25P04": CONFLICT,
  "42501": PRIVILEGE_MISSING,
  "42703": SCHEMA_MOVED,
  "42P01": SCHEMA_MOVED,
  "53100": {
    ...REJECTED,
    message: "The source database's disk is full",
    hint: "Free space on the source's disk, then try again.",
    retryable: true,
  },
  "53200": { ...REJECTED, message: "The source database is out of memory", retryable: true },
  "53300": {
    ...UNREACHABLE,
    message: "The source database has no free connection",
    hint: "Raise max_connections, or lower the source's connection limit in Rowback.",
  },
  "55P03": CONFLICT,
  "57014": CONFLICT,
  "57P01": UNREACHABLE,
  "57P02": UNREACHABLE,
  "57P03": UNREACHABLE,
  "57P04": UNREACHABLE,
  "57P05": UNREACHABLE,
  "72": CONFLICT,
};

/**
 * The C functions that raise 42501 for row-level security: `check_enable_rls` (rls.c) for a read under `row_security=off`,
 * `ExecWithCheckOptions` (execMain.c) for a written row that a policy refuses.
 */
const RLS_ROUTINES: ReadonlySet<string> = new Set(["check_enable_rls", "ExecWithCheckOptions"]);

/** SQLSTATE classes whose messages may repeat a row's value (22, 23, P0 …): theirs stay on the server (DESIGN §5.10). */
const CLASSES_WITH_PLAIN_MESSAGES: ReadonlySet<string> = new Set([
  "08",
  "25",
  "28",
  "3D",
  "40",
  "53",
  "55",
  "57",
  "58",
  "72",
]);

const NETWORK_CODES: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EHOSTDOWN",
  "EPIPE",
]);

const TLS_CODES: ReadonlySet<string> = new Set([
  "CERT_HAS_EXPIRED",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

const BY_STORAGE_CODE: Readonly<Record<StorageErrorCode, { code: ErrorCode; hint: string }>> = {
  object_missing: { code: "archive_damaged", hint: "Verify the backup; restore from another one." },
  object_exists: { code: "conflict", hint: "Start a new run; this backup's objects were written by another one." },
  invalid_key: { code: "internal", hint: "Report this as a defect of Rowback." },
  store_unreachable: { code: "store_unreachable", hint: "Check that the object store runs and can be reached." },
  store_denied: { code: "store_denied", hint: "Check the object store's credentials and bucket policy." },
  store_full: { code: "store_full", hint: "Free space in the object store." },
  store_error: { code: "store_error", hint: "Look at the object store's own log around this time." },
};

/**
 * Any thrown thing as a RecoveryError; one that already is stays (with context added).
 * Decided by SQLSTATE, the server's C routine, node's error code or the storage code; never by the words of a message.
 */
export function toRecoveryError(error: unknown, context: FailureContext = {}): RecoveryError {
  const { signal, connecting, connectionLost, ...where } = context;
  if (error instanceof RecoveryError) return error.within(where);
  if (signal?.aborted === true || isAbort(error)) {
    // A worker that lost its lease aborts with that as the reason; a person's cancellation has none of ours.
    if (signal?.reason instanceof RecoveryError) return signal.reason.within(where);
    return new RecoveryError("cancelled", "The run was cancelled.", where);
  }
  if (error instanceof pg.DatabaseError) return fromServer(error, where);
  if (error instanceof StorageError) {
    const { code, hint } = BY_STORAGE_CODE[error.code];
    const options = { ...where, hint: error.hint ?? hint, cause: error };
    return new RecoveryError(
      code,
      error.message,
      code === "archive_damaged" ? options : { ...options, retryable: error.retryable },
    );
  }
  const code = codeOf(error);
  if (code !== null && TLS_CODES.has(code)) return build(NOT_TRUSTED, `(${code})`, where);
  if (code !== null && NETWORK_CODES.has(code)) return build(UNREACHABLE, `(${code})`, where);
  if (connecting !== undefined) {
    // No password to give is the one failure of the handshake that node-postgres finds by itself, at once and without a code.
    if (code === "ENOENT") return build(UNREACHABLE, "(no such Unix socket)", where);
    return build(
      code === null && !connecting.hasPassword && !connecting.timedOut ? AUTH_FAILED : UNREACHABLE,
      "",
      where,
    );
  }
  if (connectionLost === true) return build(UNREACHABLE, "(the connection was lost)", where);
  return new RecoveryError(
    "internal",
    error instanceof Error ? error.message : "Something that is no error was thrown.",
    {
      ...where,
      cause: error,
      hint: "Report this as a defect of Rowback.",
    },
  );
}

function fromServer(error: pg.DatabaseError, where: ErrorContext): RecoveryError {
  const state = error.code ?? "";
  const verdict =
    state === "42501" && RLS_ROUTINES.has(error.routine ?? "")
      ? RLS_ACTIVE
      : (BY_SQLSTATE[state] ?? BY_SQLSTATE[state.slice(0, 2)] ?? REJECTED);
  const table = error.schema !== undefined && error.table !== undefined ? `${error.schema}.${error.table}` : undefined;
  return build(verdict, serverDetail(error, state), { ...where, table: where.table ?? table });
}

/** What the server said, as far as it can hold no row's value. */
function serverDetail(error: pg.DatabaseError, state: string): string {
  const kind = state.slice(0, 2);
  const parts = [`SQLSTATE ${state}`];
  if (error.constraint !== undefined) parts.push(`constraint ${error.constraint}`);
  if (error.column !== undefined) parts.push(`column ${error.column}`);
  // Class 42 messages name relations, columns and functions: what an operator must know. Its syntax errors would quote our SQL.
  if (CLASSES_WITH_PLAIN_MESSAGES.has(kind) || (kind === "42" && state !== "42601")) parts.push(error.message);
  return `(${parts.join("; ")})`;
}

function build(verdict: Verdict, detail: string, where: ErrorContext): RecoveryError {
  const message = detail === "" ? `${verdict.message}.` : `${verdict.message} ${detail}.`;
  return new RecoveryError(verdict.code, message, { ...where, hint: verdict.hint, retryable: verdict.retryable });
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}

function codeOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const code: unknown = Reflect.get(error, "code");
  if (typeof code === "string") return code;
  // node wraps the attempts at several addresses (IPv6, IPv4) into one AggregateError, sometimes without a code.
  if (error instanceof AggregateError) return error.errors.map(codeOf).find((inner) => inner !== null) ?? null;
  return null;
}
