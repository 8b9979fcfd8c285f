import type { JobName, QueueName } from "./catalog.ts";

/** A run that this process holds: what the row said when it was claimed, and the token that fences every write. */
export interface Claim<Run> {
  readonly runId: string;
  readonly name: JobName;
  readonly token: string;
  /** 1 for the first attempt. */
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly run: Run;
}

/** Why an attempt failed. Never a connection string, key or row value. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly hint?: string | undefined;
  /** Whether trying the same thing again can help. */
  readonly retryable: boolean;
  /** `schema.table` */
  readonly table?: string | undefined;
  /** Whose failure it is, where it is a source's. */
  readonly sourceId?: string | undefined;
}

/** How far a handler has come, as it says. `share` is 0 … 1. */
export interface ProgressReport {
  readonly phase: string;
  readonly share: number;
  readonly tables: readonly TableReport[];
}

export interface TableReport {
  /** `schema.table` */
  readonly table: string;
  readonly rows: number;
  readonly bytes: number;
  readonly done: boolean;
}

/** What is stored and shown: the report, and when the rest will be done if it goes on like this. */
export interface RunProgress extends ProgressReport {
  /** Milliseconds still to go; null while nothing can be said. */
  readonly etaMs: number | null;
}

/** One of the asked-for claims that still holds. */
export interface HeldClaim {
  readonly token: string;
  readonly cancelRequested: boolean;
}

/** What a worker's free hands ask for. */
export interface ClaimRequest {
  readonly queue: QueueName;
  /** How many runs at most, 1 … */
  readonly wanted: number;
}

/** The runs whose turn it was. */
export interface FairClaims<Run> {
  readonly claims: readonly Claim<Run>[];
  /** Others are due, but held up: their tenant or source has as many running as it may, or what they need is not well. */
  readonly othersWait: boolean;
}

/** What became of a run that was put back. */
export type PutBack = "queued" | "failed" | "cancelled";

/**
 * This package's port to "the database decides". Every write is conditional on the claim's token and answers whether it
 * held; null or false: somebody else has the run now, and nothing was written. Rejections mean that the database did not
 * answer, and the same call may be tried again.
 */
export interface RunLedger<Run, Outcome> {
  /**
   * Takes the runs of this queue whose turn it is, in fair order among tenants, within the limits for each tenant and
   * source; as `claim` does otherwise.
   */
  claimFair(request: ClaimRequest): Promise<FairClaims<Run>>;
  /** Takes this very run, whosever turn it is (a part of one that is held), with a new token and a lease of LEASE_MS; null when there is nothing to do (held, ended, cancelled, not yet due). */
  claim(runId: string): Promise<Claim<Run> | null>;
  /** Prolongs the leases, in one statement, to LEASE_MS from now. Claims missing from the answer are lost. */
  renew(claims: readonly Claim<Run>[]): Promise<readonly HeldClaim[]>;
  /** Tokens of those whose cancellation was asked for: one cheap read, made every second. */
  cancelRequested(claims: readonly Claim<Run>[]): Promise<readonly string[]>;
  progress(claim: Claim<Run>, progress: RunProgress): Promise<HeldClaim | null>;
  succeed(claim: Claim<Run>, outcome: Outcome): Promise<boolean>;
  /** Ends the run for good. */
  fail(claim: Claim<Run>, failure: Failure): Promise<boolean>;
  /** Back to queued, due in `delayMs`; failed when its attempts are used up. */
  retry(claim: Claim<Run>, failure: Failure, delayMs: number): Promise<PutBack | null>;
  /** Back to queued, due now, the attempt not counted. */
  release(claim: Claim<Run>): Promise<PutBack | null>;
  /** Back to queued, due in `delayMs`, the attempt not counted: what the run needs is not well. */
  postpone(claim: Claim<Run>, failure: Failure, delayMs: number): Promise<PutBack | null>;
  cancel(claim: Claim<Run>): Promise<boolean>;
}

/**
 * How long a claim holds without a renewal. Shorter: a worker that pauses (a garbage collection, a slow failover of the
 * control database, a stalled disk) loses hours of work that was fine. Longer: the runs of a worker that died stand
 * still for that long before anybody takes them over. A pause of half a minute is rare and a dead worker rarer, and
 * losing work is worse than waiting; 30 s also is BullMQ's job lock, so both notice a dead worker together.
 */
export const LEASE_MS = 30_000;
