import type { JobName } from "../catalog.ts";
import type { Failure } from "../ledger.ts";
import type { Log } from "../log.ts";
import type { Handler, Handlers } from "../run-executor.ts";
import type { MemoryRun } from "./memory-ledger.ts";

export type AnyOutcomes = { readonly [J in JobName]: unknown };
export type AnyHandler = Handler<MemoryRun, AnyOutcomes, JobName>;

/** The same handler for every kind, unless another is named. */
export function handlersOf(
  handler: AnyHandler,
  others: Partial<Handlers<MemoryRun, AnyOutcomes>> = {},
): Handlers<MemoryRun, AnyOutcomes> {
  return {
    discovery: handler,
    backup: handler,
    backup_verify: handler,
    restore_preview: handler,
    restore: handler,
    tenant_erase: handler,
    capture_setup: handler,
    capture_teardown: handler,
    restore_point: handler,
    history: handler,
    ...others,
  };
}

export class TestFailure extends Error {
  readonly retryable: boolean;

  constructor(message: string, retryable: boolean) {
    super(message);
    this.retryable = retryable;
  }
}

export function classify(error: unknown): Failure {
  return {
    code: error instanceof TestFailure ? "test" : "internal",
    message: error instanceof Error ? error.message : String(error),
    retryable: error instanceof TestFailure && error.retryable,
  };
}

/** Rejects with the signal's reason when it aborts, as a verb does. */
export function untilStopped(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
