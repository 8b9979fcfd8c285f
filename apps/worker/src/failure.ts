import { type Failure, RunStopped } from "@rowback/jobs";
import { toRecoveryError } from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";
import { StorageError } from "@rowback/storage";
import { ControlDatabaseError } from "./control.ts";

/**
 * What a run's row says of an error. The verbs throw RecoveryError. What else comes here is the control database's, or a
 * defect, whose words stay in the log because they may hold anything.
 */
export function classify(error: unknown): Failure {
  if (error instanceof RecoveryError) {
    // A verb calls internal whatever it does not know. The control database, which may be away in the middle of one, is known here; and so is
    // what may be said of a defect.
    if (error.code !== "internal" || error.cause === undefined) return failureOf(error);
    return { ...classify(error.cause), table: error.context.table, sourceId: error.context.sourceId };
  }
  if (error instanceof StorageError) return failureOf(toRecoveryError(error));
  if (error instanceof RunStopped && error.why === "timed_out") {
    return failureOf(
      new RecoveryError("run_timed_out", "The attempt took longer than a run of its kind may.", {
        hint: "Look at what it waited for (its progress, the source's locks), or raise RUN_TIMEOUTS.",
      }),
    );
  }
  if (error instanceof ControlDatabaseError) {
    return {
      code: error.retryable ? "unavailable" : "internal",
      message: error.message,
      hint: "Check that Rowback's own database runs and is migrated.",
      retryable: error.retryable,
    };
  }
  return {
    code: "internal",
    message: `A defect in Rowback: ${error instanceof Error ? error.name : typeof error}.`,
    hint: "Look for this run's id in the worker's log, and report it.",
    retryable: false,
  };
}

function failureOf(error: RecoveryError): Failure {
  return {
    code: error.code,
    message: error.message,
    hint: error.hint,
    retryable: error.retryable,
    table: error.context.table,
    sourceId: error.context.sourceId,
  };
}
