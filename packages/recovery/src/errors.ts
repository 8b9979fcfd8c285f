/**
 * Every way a run can fail, by its stable code. `retryable` says whether trying the same thing again can help;
 * `status` is the HTTP status a client sees when the failure answers a request. `docs/errors.md` is generated from this table.
 */
export const ERROR_CATALOG = {
  // what was asked for is wrong
  invalid_request: { retryable: false, status: 400, summary: "The request does not have the documented shape." },
  payload_too_large: { retryable: false, status: 413, summary: "The request's body is larger than the API takes." },
  unsupported_media_type: { retryable: false, status: 415, summary: "The request's body is not application/json." },
  unauthenticated: { retryable: false, status: 401, summary: "No valid bearer token came with the request." },
  forbidden: { retryable: false, status: 403, summary: "Your role does not allow this." },
  idempotency_conflict: {
    retryable: false,
    status: 409,
    summary: "The Idempotency-Key was used before for a different request.",
  },
  rate_limited: {
    retryable: true,
    status: 429,
    summary: "Too many requests in too short a time; Retry-After says when.",
  },
  quota_exceeded: {
    retryable: false,
    status: 507,
    summary: "The tenant's storage quota does not leave room for the backup.",
  },
  unavailable: {
    retryable: true,
    status: 503,
    summary: "Rowback can't answer now: its control database does not, or the request took too long.",
  },
  unknown_table: {
    retryable: false,
    status: 400,
    summary: "A named table does not exist in the source, or is not protected.",
  },
  not_found: { retryable: false, status: 404, summary: "No such thing, or not yours to see." },
  conflict: { retryable: false, status: 409, summary: "The request contradicts the present state." },
  restore_in_progress: {
    retryable: false,
    status: 409,
    summary: "Another restore of this tenant awaits approval, is queued or running.",
  },
  plan_stale: {
    retryable: false,
    status: 409,
    summary: "Live data or schema moved since the preview; nothing was changed.",
  },
  plan_conflict: {
    retryable: false,
    status: 409,
    summary: "Applying the plan would break a foreign key or a unique constraint; nothing was changed.",
  },
  // the source
  source_unreachable: { retryable: true, status: 503, summary: "The source database does not answer." },
  source_auth_failed: { retryable: false, status: 422, summary: "The source database refused the user or password." },
  source_privilege_missing: {
    retryable: false,
    status: 422,
    summary: "The role lacks a privilege it needs on the source.",
  },
  source_rls_active: {
    retryable: false,
    status: 422,
    summary: "Row-level security on the source would hide rows from the role.",
  },
  source_not_configured: {
    retryable: false,
    status: 422,
    summary: "The source's connection setting is missing or malformed.",
  },
  source_conflict: {
    retryable: true,
    status: 409,
    summary: "The source cancelled the transaction: deadlock, serialization failure or lock timeout.",
  },
  source_error: { retryable: false, status: 422, summary: "The source database rejected a statement." },
  table_unprotected: {
    retryable: false,
    status: 422,
    summary: "A table is covered by no rule, so the backup would silently be partial.",
  },
  tenant_not_in_source: { retryable: false, status: 422, summary: "The source holds no such tenant key." },
  schema_drift: {
    retryable: false,
    status: 409,
    summary: "The schema changed since the backup in a way that can't be mapped safely.",
  },
  capture_refused: {
    retryable: false,
    status: 422,
    summary: "The source's changes can't be captured as it is set up; nothing was changed.",
  },
  integrity_failed: {
    retryable: false,
    status: 409,
    summary: "A check inside the restore transaction failed; it was rolled back.",
  },
  // the archive
  archive_damaged: { retryable: false, status: 422, summary: "A stored part is missing, truncated or altered." },
  manifest_unsupported: {
    retryable: false,
    status: 422,
    summary: "The manifest is of a version this Rowback does not read.",
  },
  manifest_invalid: { retryable: false, status: 422, summary: "The manifest does not have the documented shape." },
  key_missing: {
    retryable: false,
    status: 422,
    summary: "The key of an encrypted backup is not there: no master key is set, or the data key was destroyed.",
  },
  key_wrong: {
    retryable: false,
    status: 422,
    summary: "The master key at hand is not the one that wrapped the data key.",
  },
  moment_unreachable: {
    retryable: false,
    status: 422,
    summary: "No backup and change log reach this moment: it lies outside the recovery window, or in a gap of it.",
  },
  capture_behind: {
    retryable: true,
    status: 503,
    summary: "The change log does not reach the moment yet: its capture is behind, or nobody captures now.",
  },
  chain_broken: {
    retryable: false,
    status: 422,
    summary: "A backup that this one stands on is missing, or is not the one it was made on.",
  },
  change_log_damaged: {
    retryable: false,
    status: 422,
    summary: "The change log is missing, altered or incomplete where it is needed.",
  },
  // the store
  store_unreachable: { retryable: true, status: 503, summary: "The object store does not answer." },
  store_denied: {
    retryable: false,
    status: 422,
    summary: "The object store refused the credentials or the operation.",
  },
  store_full: { retryable: true, status: 507, summary: "The object store has no space left." },
  store_error: { retryable: true, status: 503, summary: "The object store failed." },
  // the run
  cancelled: { retryable: false, status: 409, summary: "The run was cancelled." },
  lease_lost: { retryable: true, status: 409, summary: "Another worker took the run over." },
  run_timed_out: { retryable: true, status: 504, summary: "The attempt took longer than a run of its kind may." },
  crash_loop: {
    retryable: false,
    status: 500,
    summary: "Worker after worker died with this run in its hands, so it is not tried again.",
  },
  internal: { retryable: false, status: 500, summary: "A defect in Rowback." },
} as const satisfies Record<string, { retryable: boolean; status: number; summary: string }>;

export type ErrorCode = keyof typeof ERROR_CATALOG;

/** Where it happened. Never a connection string, key or row value (DESIGN §5.10). */
export interface ErrorContext {
  readonly tenantId?: string | undefined;
  readonly runId?: string | undefined;
  readonly sourceId?: string | undefined;
  /** `schema.table`, unquoted. */
  readonly table?: string | undefined;
}

export interface RecoveryErrorOptions extends ErrorContext {
  /** What the reader can do about it, as one imperative sentence. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
  /** Overrides the catalogue's default for this one occurrence. */
  readonly retryable?: boolean | undefined;
}

/** The one error of Rowback. Classified where it is made, never by matching the words of a message. */
export class RecoveryError extends Error {
  override readonly name = "RecoveryError";
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly hint: string | undefined;
  readonly context: ErrorContext;

  constructor(code: ErrorCode, message: string, options: RecoveryErrorOptions = {}) {
    const { hint, cause, retryable, ...context } = options;
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.retryable = retryable ?? ERROR_CATALOG[code].retryable;
    this.hint = hint;
    this.context = context;
  }

  /** The HTTP status of this failure, where it answers a request. */
  get status(): number {
    return ERROR_CATALOG[this.code].status;
  }

  /** The same error with the context that the thrower could not know; what it did know stays. */
  within(context: ErrorContext): RecoveryError {
    return new RecoveryError(this.code, this.message, {
      ...context,
      ...definedOnly(this.context),
      hint: this.hint,
      cause: this.cause,
      retryable: this.retryable,
    });
  }
}

function definedOnly(context: ErrorContext): ErrorContext {
  return Object.fromEntries(Object.entries(context).filter(([, value]) => value !== undefined));
}
