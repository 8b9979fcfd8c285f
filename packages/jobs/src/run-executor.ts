import { type ActiveRun, ActiveRuns, RunStopped } from "./active-runs.ts";
import { JOBS, type JobName, QUEUES, type QueueName, retryDelayMs } from "./catalog.ts";
import { FairTurns, type Turn } from "./fairness.ts";
import { type Claim, type Failure, LEASE_MS, type ProgressReport, type RunLedger, type RunProgress } from "./ledger.ts";
import { describeDefect, type Log, throttledErrors } from "./log.ts";
import { ProgressWriter } from "./progress-writer.ts";

/** What a handler is given: one attempt of one run. */
export interface Task<Run, Outcomes extends OutcomeByJob> {
  readonly run: Run;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /**
   * Aborts when the run was cancelled, its lease was lost, or the worker shuts down; its reason is a RunStopped. Ask for
   * it anew before anything that can't be taken back: that also notices that this process was frozen past its lease.
   */
  readonly signal: AbortSignal;
  /** Call it as often as you like; it is throttled. */
  report(progress: ProgressReport): void;
  /**
   * Executes another run, whose row is queued, as a part of this one and under its signal. It gets one attempt: whatever
   * stops or fails it is thrown here and decides this run's fate.
   * @throws RunStopped `lease_lost` when the child can't be claimed
   */
  runChild<J extends JobName>(name: J, runId: string): Promise<Outcomes[J]>;
}

/** What each kind of run comes to. */
export type OutcomeByJob = { readonly [J in JobName]: unknown };
export type Handler<Run, Outcomes extends OutcomeByJob, J extends JobName> = (
  task: Task<Run, Outcomes>,
) => Promise<Outcomes[J]>;
export type Handlers<Run, Outcomes extends OutcomeByJob> = { readonly [J in JobName]: Handler<Run, Outcomes, J> };

/** How an attempt ended; what the queue has to do follows from it. */
export type Verdict =
  | { readonly end: "succeeded" | "cancelled" }
  | { readonly end: "failed"; readonly failure: Failure }
  | { readonly end: "retry"; readonly failure: Failure; readonly delayMs: number }
  /** Put back without counting the attempt: what it needs is not well. */
  | { readonly end: "postponed"; readonly failure: Failure; readonly delayMs: number }
  /** Handed back at shutdown; nothing was counted. */
  | { readonly end: "released" }
  /** There was nothing to do: no run is due. */
  | { readonly end: "refused" }
  /** Somebody else has the run now. */
  | { readonly end: "lost" }
  /** The database did not answer; the run is as it was. */
  | { readonly end: "unavailable"; readonly delayMs: number };

/** What metrics want to know. */
export type ExecutionEvent<Run> =
  | { readonly event: "claimed"; readonly name: JobName; readonly claim: Claim<Run> }
  | { readonly event: "ended"; readonly name: JobName; readonly end: Verdict["end"]; readonly durationMs: number };

export interface ExecutorOptions<Run, Outcomes extends OutcomeByJob> {
  readonly handlers: Handlers<Run, Outcomes>;
  readonly ledger: RunLedger<Run, Outcomes[JobName]>;
  /** What a thrown error means; it must not let secrets through. */
  readonly classify: (error: unknown) => Failure;
  readonly log: Log;
  /** What the log says of a run besides its id: whose it is. */
  readonly logFields?: (run: Run) => Readonly<Record<string, unknown>>;
  readonly observe?: (event: ExecutionEvent<Run>) => void;
  /**
   * Milliseconds for which a run that failed so should wait, because what it needs is known to be unwell; null where the
   * failure is the run's own and costs an attempt.
   */
  readonly postponeMs?: (failure: Failure, run: Run) => number | null;
  /** How long one attempt may take, in milliseconds; as the catalog says for kinds left out. */
  readonly timeoutsMs?: Readonly<Partial<Record<JobName, number>>>;
  /** LEASE_MS unless told. */
  readonly leaseMs?: number;
  /** For tests. */
  readonly watchMs?: number;
}

// The database is being restarted or failed over; asking more often than this does not make it come sooner.
const UNAVAILABLE_DELAY_MS = 5_000;
const RECORD_AGAIN_MS = 500;

/** Claims a run, runs its handler, records what came of it. Knows nothing of the queue. */
export class RunExecutor<Run, Outcomes extends OutcomeByJob> {
  readonly #options: ExecutorOptions<Run, Outcomes>;
  readonly #active: ActiveRuns<Run>;
  readonly #turns: Readonly<Record<QueueName, FairTurns<Run>>>;
  readonly #onUnavailable: (error: Error) => void;
  #draining = false;

  constructor(options: ExecutorOptions<Run, Outcomes>) {
    this.#options = options;
    this.#active = new ActiveRuns(options);
    const turnsOf = (queue: QueueName): FairTurns<Run> => new FairTurns({ queue, ledger: options.ledger });
    this.#turns = { backups: turnsOf("backups"), restores: turnsOf("restores"), discovery: turnsOf("discovery") };
    this.#onUnavailable = throttledErrors(options.log, "the control database does not answer");
  }

  get activeRuns(): number {
    return this.#active.size;
  }

  /**
   * One attempt of the run whose turn it is, from claim to outcome; waits for its turn. Never rejects. `onProgress` hears
   * what is written to the row.
   */
  async execute(queue: QueueName, onProgress: (progress: RunProgress) => void = () => {}): Promise<Verdict> {
    if (this.#draining) return { end: "released" };
    let turn: Turn<Run> | null;
    try {
      turn = await this.#turns[queue].next();
    } catch (error) {
      this.#onUnavailable(asError(error));
      return { end: "unavailable", delayMs: UNAVAILABLE_DELAY_MS };
    }
    if (turn === null) return { end: this.#draining ? "released" : "refused" };
    const { claim, askedAt } = turn;
    this.#options.observe?.({ event: "claimed", name: claim.name, claim });
    const active = this.#active.add(claim, askedAt);
    if (this.#draining) active.stop("shutdown");
    const timer = this.#timeOut(active);
    try {
      const verdict = await this.#attempt(active, onProgress);
      const durationMs = performance.now() - askedAt;
      this.#options.observe?.({ event: "ended", name: claim.name, end: verdict.end, durationMs });
      return verdict;
    } finally {
      clearTimeout(timer);
      this.#active.remove(active);
      this.#turns[queue].freed();
    }
  }

  /** Somebody says that this run is to be cancelled: looks in the database at once, if the run is here. */
  hearOfCancellation(runId: string): Promise<void> {
    return this.#active.hearOfCancellation(runId);
  }

  /**
   * Takes no more runs; those that are active get `graceMs` to end, then are stopped and handed back, and get `stopMs`
   * for that. Resolves to how many did not even stop: their leases will end.
   */
  async drain(times: { readonly graceMs: number; readonly stopMs: number }): Promise<number> {
    this.#draining = true;
    for (const queue of QUEUES) this.#turns[queue].close();
    await this.#idleWithin(times.graceMs);
    this.#active.stopAll("shutdown");
    await this.#idleWithin(times.stopMs);
    this.#active.close();
    return this.#active.size;
  }

  /** Ends the grace period of a `drain` that is under way. */
  stopNow(): void {
    this.#active.stopAll("shutdown");
  }

  /** The one catch of all handlers. */
  async #attempt(active: ActiveRun<Run>, onProgress: (progress: RunProgress) => void): Promise<Verdict> {
    const { claim } = active;
    const { ledger } = this.#options;
    const progress = this.#progressWriter(active, onProgress);
    try {
      active.signal.throwIfAborted();
      const outcome = await this.#handle(claim.name, active, progress);
      progress.close();
      return await this.#record(active, async () =>
        (await ledger.succeed(claim, outcome)) ? { end: "succeeded" } : LOST,
      );
    } catch (error) {
      progress.close();
      const stopped = whyStopped(active.signal, error);
      if (stopped === "lease_lost") return LOST;
      if (stopped === "cancelled")
        return await this.#record(active, async () => ((await ledger.cancel(claim)) ? CANCELLED : LOST));
      if (stopped === "shutdown")
        return await this.#record(active, async () => putBackVerdict(await ledger.release(claim), { end: "released" }));
      return await this.#recordFailure(active, stopped === "timed_out" ? active.signal.reason : error);
    }
  }

  /** What a failed attempt means for its run: to be put off, tried again, or over. */
  async #recordFailure(active: ActiveRun<Run>, error: unknown): Promise<Verdict> {
    const { claim } = active;
    const { ledger, log, logFields, classify, postponeMs } = this.#options;
    const failure = classify(error);
    const { runId, name: kind, attempt, maxAttempts } = claim;
    const defect = failure.code === "internal" ? { error: describeDefect(error) } : {};
    log.warn(
      { runId, kind, ...logFields?.(claim.run), attempt, maxAttempts, failure, ...defect },
      "the attempt failed",
    );
    const waitMs = postponeMs?.(failure, claim.run) ?? null;
    if (waitMs !== null) {
      const postponed: Verdict = { end: "postponed", failure, delayMs: waitMs };
      return await this.#record(active, async () =>
        putBackVerdict(await ledger.postpone(claim, failure, waitMs), postponed),
      );
    }
    if (!failure.retryable || claim.attempt >= claim.maxAttempts) {
      return await this.#record(active, async () =>
        (await ledger.fail(claim, failure)) ? { end: "failed", failure } : LOST,
      );
    }
    const delayMs = retryDelayMs(claim.name, claim.attempt);
    return await this.#record(active, async () =>
      putBackVerdict(await ledger.retry(claim, failure, delayMs), { end: "retry", failure, delayMs }, failure),
    );
  }

  #timeOut({ claim, stop }: ActiveRun<Run>): NodeJS.Timeout {
    const timeoutMs = this.#options.timeoutsMs?.[claim.name] ?? JOBS[claim.name].timeoutMs;
    return setTimeout(stop, timeoutMs, "timed_out").unref();
  }

  #handle<J extends JobName>(name: J, active: ActiveRun<Run>, progress: ProgressWriter): Promise<Outcomes[J]> {
    const handler: Handler<Run, Outcomes, J> = this.#options.handlers[name];
    return handler({
      run: active.claim.run,
      attempt: active.claim.attempt,
      get signal() {
        return active.signal;
      },
      report: (report) => progress.report(report),
      runChild: (childName, runId) => this.#runChild(childName, runId, active),
    });
  }

  async #runChild<J extends JobName>(name: J, runId: string, parent: ActiveRun<Run>): Promise<Outcomes[J]> {
    const { ledger } = this.#options;
    parent.signal.throwIfAborted();
    const claimedAt = performance.now();
    const claim = await ledger.claim(runId);
    if (claim === null) throw new RunStopped("lease_lost");
    const child = this.#active.add(claim, claimedAt);
    const stopWithParent = (): void => child.stop(whyStopped(parent.signal, null) ?? "cancelled");
    parent.signal.addEventListener("abort", stopWithParent, { once: true });
    if (parent.signal.aborted) stopWithParent();
    const progress = this.#progressWriter(child, () => {});
    try {
      const outcome = await this.#handle(name, child, progress);
      progress.close();
      const verdict = await this.#record(child, async () =>
        (await ledger.succeed(claim, outcome)) ? { end: "succeeded" } : LOST,
      );
      if (verdict.end !== "succeeded") throw new RunStopped("lease_lost");
      return outcome;
    } catch (error) {
      progress.close();
      // Nobody would wait for a child that is queued again: its parent makes another one when it is tried again.
      const stopped = whyStopped(child.signal, error);
      if (stopped === null) {
        const failure = { ...this.#options.classify(error), retryable: false };
        await this.#record(child, async () =>
          (await ledger.fail(claim, failure)) ? { end: "failed", failure } : LOST,
        );
      } else if (stopped !== "lease_lost") {
        await this.#record(child, async () => ((await ledger.cancel(claim)) ? CANCELLED : LOST));
      }
      if (stopped !== null && !parent.signal.aborted) parent.stop(stopped);
      throw error;
    } finally {
      parent.signal.removeEventListener("abort", stopWithParent);
      this.#active.remove(child);
    }
  }

  #progressWriter(active: ActiveRun<Run>, onProgress: (progress: RunProgress) => void): ProgressWriter {
    return new ProgressWriter(async (progress) => {
      onProgress(progress);
      try {
        const held = await this.#options.ledger.progress(active.claim, progress);
        if (held === null) active.stop("lease_lost");
        else if (held.cancelRequested) active.stop("cancelled");
      } catch (error) {
        this.#onUnavailable(asError(error));
      }
    });
  }

  /**
   * Writes an outcome, again and again for as long as the lease can hold: an hour's backup is not thrown away because
   * the database failed over in its last second.
   */
  async #record(active: ActiveRun<Run>, write: () => Promise<Verdict>): Promise<Verdict> {
    const giveUpAt = performance.now() + (this.#options.leaseMs ?? LEASE_MS);
    for (;;) {
      try {
        return await write();
      } catch (error) {
        this.#onUnavailable(asError(error));
        if (whyStopped(active.signal, null) === "lease_lost" || performance.now() >= giveUpAt) return LOST;
      }
      await new Promise((resolve) => setTimeout(resolve, RECORD_AGAIN_MS));
    }
  }

  async #idleWithin(ms: number): Promise<void> {
    const until = performance.now() + ms;
    while (this.#active.size > 0 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const LOST: Verdict = { end: "lost" };
const CANCELLED: Verdict = { end: "cancelled" };

function putBackVerdict(
  putBack: "queued" | "failed" | "cancelled" | null,
  queued: Verdict,
  failure?: Failure,
): Verdict {
  if (putBack === "queued") return queued;
  if (putBack === "cancelled") return CANCELLED;
  if (putBack === "failed" && failure !== undefined) return { end: "failed", failure };
  return LOST;
}

/** A stop outranks whatever the handler threw on its way out. */
function whyStopped(signal: AbortSignal, error: unknown): RunStopped["why"] | null {
  if (signal.aborted) return signal.reason instanceof RunStopped ? signal.reason.why : "cancelled";
  return error instanceof RunStopped ? error.why : null;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
