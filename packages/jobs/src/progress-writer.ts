import type { ProgressReport, RunProgress } from "./ledger.ts";

// A verb reports every block; a person reads twice a second at most, and every write is a new version of the run's row.
const EVERY_MS = 500;
// Most tenants are small and done before anybody could look: telling of them would be half of the database's commits.
const FIRST_AFTER_MS = 250;

/** Passes the newest report on, after a quarter of a second, then at most every half second, and never two at once. */
export class ProgressWriter {
  readonly #write: (progress: RunProgress) => Promise<void>;
  readonly #everyMs: number;
  readonly #startedAt = performance.now();
  #newest: ProgressReport | null = null;
  #dueAt: number;
  #timer: NodeJS.Timeout | null = null;
  #busy = false;
  #closed = false;

  /** @param write must not reject */
  constructor(write: (progress: RunProgress) => Promise<void>, everyMs: number = EVERY_MS) {
    this.#write = write;
    this.#everyMs = everyMs;
    this.#dueAt = this.#startedAt + Math.min(FIRST_AFTER_MS, everyMs);
  }

  report(report: ProgressReport): void {
    if (this.#closed) return;
    this.#newest = report;
    this.#schedule();
  }

  /** Nothing is passed on any more: the outcome says more. */
  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#busy || this.#timer !== null || this.#newest === null || this.#closed) return;
    const waitMs = this.#dueAt - performance.now();
    if (waitMs <= 0) {
      void this.#flush();
      return;
    }
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.#flush();
    }, waitMs);
  }

  async #flush(): Promise<void> {
    const report = this.#newest;
    if (report === null || this.#closed) return;
    this.#newest = null;
    this.#busy = true;
    this.#dueAt = performance.now() + this.#everyMs;
    await this.#write({ ...report, etaMs: etaMs(report.share, performance.now() - this.#startedAt) });
    this.#busy = false;
    this.#schedule();
  }
}

/** Milliseconds still to go when `share` (0 … 1) took `elapsedMs`; null while nothing is done. */
export function etaMs(share: number, elapsedMs: number): number | null {
  if (!(share > 0)) return null;
  return Math.max(0, Math.round((elapsedMs * (1 - share)) / share));
}
