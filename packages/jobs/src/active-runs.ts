import { type Claim, LEASE_MS, type RunLedger } from "./ledger.ts";
import { type Log, throttledErrors } from "./log.ts";

/** Why a run was told to stop. The reason of its signal. */
export class RunStopped extends Error {
  override readonly name = "RunStopped";
  readonly why: "cancelled" | "lease_lost" | "shutdown" | "timed_out";

  constructor(why: RunStopped["why"]) {
    super(`the run was told to stop: ${why}`);
    this.why = why;
  }
}

/** A run this process is busy with. */
export interface ActiveRun<Run> {
  readonly claim: Claim<Run>;
  /** Asking for it notices a lease that ended while no timer had a chance to fire (a process that was frozen). */
  readonly signal: AbortSignal;
  stop(why: RunStopped["why"]): void;
}

interface Tracked<Run> extends ActiveRun<Run> {
  /** On the monotonic clock: after it the lease has ended for certain, whatever the database's clock says. */
  leaseEndsAt: number;
}

export interface ActiveRunsOptions<Run> {
  readonly ledger: Pick<RunLedger<Run, never>, "renew" | "cancelRequested">;
  readonly log: Log;
  readonly leaseMs?: number;
  readonly watchMs?: number;
}

// A cancelled run must stop within two seconds: half of that to notice, half to stop.
const WATCH_MS = 1_000;
// Two renewals may fail, and the third still comes in time.
const RENEWALS_PER_LEASE = 3;

/**
 * The runs of this process, all watched by one statement a second: every third of a lease it renews them, else it only
 * asks for cancellations. A run whose lease was lost, or could not be renewed in time, is stopped.
 */
export class ActiveRuns<Run> {
  readonly #runs = new Map<string, Tracked<Run>>();
  readonly #options: ActiveRunsOptions<Run>;
  readonly #leaseMs: number;
  readonly #timer: NodeJS.Timeout;
  readonly #onError: (error: Error) => void;
  #renewedAt = performance.now();
  #watching = false;

  constructor(options: ActiveRunsOptions<Run>) {
    this.#options = options;
    this.#leaseMs = options.leaseMs ?? LEASE_MS;
    this.#onError = throttledErrors(options.log, "the leases of the active runs could not be renewed");
    this.#timer = setInterval(() => void this.#watch(), options.watchMs ?? WATCH_MS);
    this.#timer.unref();
  }

  get size(): number {
    return this.#runs.size;
  }

  /** @param claimedAt `performance.now()` before the claim was asked for: its lease began no earlier. */
  add(claim: Claim<Run>, claimedAt: number): ActiveRun<Run> {
    const controller = new AbortController();
    const stop = (why: RunStopped["why"]): void => controller.abort(new RunStopped(why));
    const run: Tracked<Run> = {
      claim,
      get signal() {
        if (performance.now() >= this.leaseEndsAt) stop("lease_lost");
        return controller.signal;
      },
      stop,
      leaseEndsAt: claimedAt + this.#leaseMs,
    };
    this.#runs.set(claim.token, run);
    return run;
  }

  remove(run: ActiveRun<Run>): void {
    this.#runs.delete(run.claim.token);
  }

  stopAll(why: RunStopped["why"]): void {
    for (const run of this.#runs.values()) run.stop(why);
  }

  /** Somebody says that this run is to be cancelled: asks the database at once, if the run is here. */
  async hearOfCancellation(runId: string): Promise<void> {
    const [mine] = [...this.#runs.values()].filter((run) => run.claim.runId === runId);
    if (mine === undefined) return;
    try {
      await this.#stopCancelled([mine]);
    } catch (error) {
      this.#onError(error instanceof Error ? error : new Error(String(error)));
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #watch(): Promise<void> {
    this.#stopOverdue();
    if (this.#watching || this.#runs.size === 0) return;
    this.#watching = true;
    try {
      const due = performance.now() - this.#renewedAt >= this.#leaseMs / RENEWALS_PER_LEASE;
      await (due ? this.#renew() : this.#stopCancelled([...this.#runs.values()]));
    } catch (error) {
      this.#onError(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#watching = false;
    }
  }

  async #renew(): Promise<void> {
    const asked = [...this.#runs.values()];
    const askedAt = performance.now();
    const held = await this.#options.ledger.renew(asked.map((run) => run.claim));
    this.#renewedAt = askedAt;
    const byToken = new Map(held.map((claim) => [claim.token, claim]));
    for (const run of asked) {
      const state = byToken.get(run.claim.token);
      if (state === undefined) {
        run.stop("lease_lost");
        continue;
      }
      run.leaseEndsAt = askedAt + this.#leaseMs;
      if (state.cancelRequested) run.stop("cancelled");
    }
  }

  async #stopCancelled(asked: readonly Tracked<Run>[]): Promise<void> {
    const tokens = await this.#options.ledger.cancelRequested(asked.map((run) => run.claim));
    for (const token of tokens) this.#runs.get(token)?.stop("cancelled");
  }

  /** The database did not answer for a whole lease: somebody else may have the run by now. */
  #stopOverdue(): void {
    const now = performance.now();
    for (const run of this.#runs.values()) if (run.leaseEndsAt <= now) run.stop("lease_lost");
  }
}
