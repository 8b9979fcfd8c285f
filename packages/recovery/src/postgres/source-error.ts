import { type ErrorContext, RecoveryError } from "../errors.ts";

/** What is known around a failure besides the error. */
export interface FailureContext extends ErrorContext {
  /** The run's signal: when it is aborted, whatever the abort caused is `cancelled`. */
  readonly signal?: AbortSignal | undefined;
}

/** Any thrown thing as a RecoveryError; one that already is stays (with context added). */
export function toRecoveryError(error: unknown, context: FailureContext = {}): RecoveryError {
  const { signal: _signal, ...where } = context;
  if (error instanceof RecoveryError) return error.within(where);
  return new RecoveryError("internal", "not built yet", { ...where, cause: error });
}
