import CircuitBreaker from "opossum";

/** What a run may need and Rowback does not own: `store`, `source:<id>`; later `smtp` and `webhook:<host>`. */
export type Dependency = "store" | "smtp" | `source:${string}` | `webhook:${string}`;

export interface BreakerSettings {
  /** So many failures in a row open a breaker. */
  readonly failures: number;
  /** Milliseconds until an open breaker asks its dependency again. */
  readonly resetMs: number;
}

export type BreakerState = "closed" | "open" | "half_open";

export interface BreakerStatus {
  readonly dependency: Dependency;
  readonly state: BreakerState;
  /** Failures in a row, as far as they were counted. */
  readonly failures: number;
  /** Milliseconds until the dependency is asked again; null while closed. */
  readonly retryInMs: number | null;
}

/** What one dependency's users tell of it, and what it tells them. */
export interface Breaker {
  /** Don't ask: it is known to be unwell. */
  readonly isShut: boolean;
  /** Milliseconds until it is asked again; 0 while it may be asked, or is being asked. */
  readonly retryInMs: number;
  /** It answered, if only to refuse. */
  succeeded(): void;
  /** It did not answer, or said that it can't. What a user did wrong is no failure. */
  failed(): void;
}

export interface BreakersOptions {
  readonly settings: BreakerSettings;
  readonly onChange?: (status: BreakerStatus) => void;
}

/**
 * One breaker for each dependency. It opens after so many failures in a row; after a while it asks the dependency by
 * itself, with a small question, and closes or waits again: no customer's run has to find out. opossum keeps the states
 * and the clock. Its own rule, a share of the calls within some seconds, does not fit runs that take hours, so the
 * failures in a row are counted here.
 */
export class Breakers {
  readonly #options: BreakersOptions;
  readonly #breakers = new Map<Dependency, ProbingBreaker>();

  constructor(options: BreakersOptions) {
    this.#options = options;
  }

  /** @param probe asks the dependency whether it is well again; rejects only if it is not */
  of(dependency: Dependency, probe: () => Promise<unknown>): Breaker {
    const present = this.#breakers.get(dependency);
    if (present !== undefined) return present;
    const made = new ProbingBreaker(dependency, probe, this.#options);
    this.#breakers.set(dependency, made);
    return made;
  }

  /** The breaker, if anybody has asked for it yet. */
  known(dependency: Dependency): Breaker | null {
    return this.#breakers.get(dependency) ?? null;
  }

  /** Every breaker that was ever asked for. */
  statuses(): BreakerStatus[] {
    return [...this.#breakers.values()].map((breaker) => breaker.status);
  }

  /** The dependencies that should not be asked now. */
  shut(): Dependency[] {
    return this.statuses().flatMap(({ dependency, state }) => (state === "closed" ? [] : [dependency]));
  }

  close(): void {
    for (const breaker of this.#breakers.values()) breaker.close();
  }
}

class ProbingBreaker implements Breaker {
  readonly #dependency: Dependency;
  readonly #options: BreakersOptions;
  readonly #circuit: CircuitBreaker;
  #failures = 0;
  #asksAgainAt = 0;

  constructor(dependency: Dependency, probe: () => Promise<unknown>, options: BreakersOptions) {
    this.#dependency = dependency;
    this.#options = options;
    this.#circuit = new CircuitBreaker(probe, {
      resetTimeout: options.settings.resetMs,
      // The probe has a limit of its own, and only the probe goes through the circuit.
      timeout: false,
      allowWarmUp: false,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
    });
    this.#circuit.on("open", () => {
      this.#asksAgainAt = performance.now() + options.settings.resetMs;
      options.onChange?.(this.status);
    });
    this.#circuit.on("halfOpen", () => {
      options.onChange?.(this.status);
      // Its outcome closes the circuit or opens it again.
      this.#circuit.fire().catch(() => undefined);
    });
    this.#circuit.on("close", () => {
      this.#failures = 0;
      options.onChange?.(this.status);
    });
  }

  get status(): BreakerStatus {
    const state = this.#circuit.opened ? "open" : this.#circuit.halfOpen ? "half_open" : "closed";
    const retryInMs = state === "closed" ? null : this.retryInMs;
    return { dependency: this.#dependency, state, failures: this.#failures, retryInMs };
  }

  get isShut(): boolean {
    return !this.#circuit.closed;
  }

  get retryInMs(): number {
    return this.#circuit.opened ? Math.max(0, Math.ceil(this.#asksAgainAt - performance.now())) : 0;
  }

  succeeded(): void {
    // A long run's late success says nothing about a dependency that failed for everybody since; the probe will.
    if (this.#circuit.closed) this.#failures = 0;
  }

  failed(): void {
    this.#failures += 1;
    if (this.#circuit.closed && this.#failures >= this.#options.settings.failures) this.#circuit.open();
  }

  close(): void {
    this.#circuit.shutdown();
  }
}
