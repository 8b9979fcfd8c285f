/** What the watcher must know of a run to tell a change and an end. */
export interface WatchedRun {
  readonly id: string;
  readonly status: string;
  readonly updatedAt: Date;
}

export interface RunWatcherOptions<Run extends WatchedRun> {
  /** The present state of many runs, in one query; those that don't exist are left out. */
  readonly load: (ids: readonly string[]) => Promise<readonly Run[]>;
  readonly hasEnded: (run: Run) => boolean;
  readonly onError: (error: unknown) => void;
  readonly intervalMs: number;
}

interface Subscriber<Run> {
  readonly runId: string;
  /** Only the newest state waits for a slow reader, so that a stalled client costs no memory. */
  pending: Run | null;
  seen: string | null;
  wake: () => void;
}

/**
 * Follows runs for any number of clients with one query per interval and process: a hundred open tabs must not cost
 * the control database a hundred queries a second.
 */
export class RunWatcher<Run extends WatchedRun> {
  readonly #options: RunWatcherOptions<Run>;
  readonly #subscribers = new Set<Subscriber<Run>>();
  #timer: NodeJS.Timeout | undefined;
  #polling = false;
  #pollAgain = false;
  #closed = false;

  constructor(options: RunWatcherOptions<Run>) {
    this.#options = options;
  }

  /**
   * The run's present state, then each change, and `null` after every `quietMs` without one; ends after the run's last
   * state, when the signal aborts, or when the watcher closes.
   */
  async *watch(runId: string, options: { quietMs: number; signal: AbortSignal }): AsyncGenerator<Run | null> {
    const subscriber: Subscriber<Run> = { runId, pending: null, seen: null, wake: () => {} };
    const onAbort = (): void => subscriber.wake();
    options.signal.addEventListener("abort", onAbort);
    this.#subscribers.add(subscriber);
    this.#pollNow();
    try {
      while (!this.#closed && !options.signal.aborted) {
        if (subscriber.pending === null) await wakened(subscriber, options.quietMs);
        if (this.#closed || options.signal.aborted) return;
        const run = subscriber.pending;
        subscriber.pending = null;
        yield run;
        if (run !== null && this.#options.hasEnded(run)) return;
      }
    } finally {
      this.#subscribers.delete(subscriber);
      options.signal.removeEventListener("abort", onAbort);
    }
  }

  /** The run once it has ended, or null when `timeoutMs` passed first. */
  async waitForEnd(runId: string, timeoutMs: number, signal: AbortSignal): Promise<Run | null> {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    for await (const run of this.watch(runId, { quietMs: timeoutMs, signal: deadline })) {
      if (run !== null && this.#options.hasEnded(run)) return run;
    }
    return null;
  }

  /** How many readers there are. */
  get size(): number {
    return this.#subscribers.size;
  }

  /** Ends every watch. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const subscriber of this.#subscribers) subscriber.wake();
  }

  /** A new reader is answered at once, not at the next interval. */
  #pollNow(): void {
    if (this.#polling) this.#pollAgain = true;
    else this.#schedule(0);
  }

  #schedule(delayMs: number): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#poll(), delayMs);
    this.#timer.unref();
  }

  async #poll(): Promise<void> {
    this.#polling = true;
    this.#pollAgain = false;
    const ids = [...new Set([...this.#subscribers].map(({ runId }) => runId))];
    try {
      if (ids.length > 0) this.#tell(await this.#options.load(ids));
    } catch (error) {
      // The database is away: readers keep their connection and hear of the run when it is back.
      this.#options.onError(error);
    }
    this.#polling = false;
    if (this.#subscribers.size > 0) this.#schedule(this.#pollAgain ? 0 : this.#options.intervalMs);
  }

  #tell(runs: readonly Run[]): void {
    const byId = new Map(runs.map((run) => [run.id, run]));
    for (const subscriber of this.#subscribers) {
      const run = byId.get(subscriber.runId);
      if (run === undefined) continue;
      const version = versionOf(run);
      if (version === subscriber.seen) continue;
      subscriber.seen = version;
      subscriber.pending = run;
      subscriber.wake();
    }
  }
}

/** Names one state of a run; the `id` of its event. */
export function versionOf(run: WatchedRun): string {
  return `${run.status}-${run.updatedAt.getTime()}`;
}

function wakened(subscriber: Subscriber<unknown>, quietMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, quietMs);
    timer.unref();
    subscriber.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}
