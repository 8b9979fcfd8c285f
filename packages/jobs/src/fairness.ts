import type { QueueName } from "./catalog.ts";
import type { Claim, RunLedger } from "./ledger.ts";

/** A claimed run, and when its claim was asked for (`performance.now()`): its lease began no earlier. */
export interface Turn<Run> {
  readonly claim: Claim<Run>;
  readonly askedAt: number;
}

export interface FairTurnsOptions<Run> {
  readonly queue: QueueName;
  readonly ledger: Pick<RunLedger<Run, never>, "claimFair">;
  readonly pollMs?: number;
}

interface Hand<Run> {
  give(turn: Turn<Run> | null): void;
  fail(error: unknown): void;
}

// Another worker's run ended, or a run was asked for that may begin at once: nobody tells us. A free hand looks four
// times a second, which costs the database some milliseconds, and is noticed by nobody.
const POLL_MS = 250;

/**
 * The free hands of this process, for one queue, waiting for their turn. A job of the queue is only a ticket: it says
 * that some run is due, and the database says which is next (decision 0045). All free hands ask in one statement; where
 * every due run is held up by a limit they wait, ticket in hand, until a run of this process ends or a moment has passed.
 */
export class FairTurns<Run> {
  readonly #options: FairTurnsOptions<Run>;
  readonly #hands: Hand<Run>[] = [];
  #asking = false;
  #closed = false;
  #wake: () => void = () => {};

  constructor(options: FairTurnsOptions<Run>) {
    this.#options = options;
  }

  /** The next run; null when none is due, or after `close`. Rejects when the database does not answer. */
  next(): Promise<Turn<Run> | null> {
    if (this.#closed) return Promise.resolve(null);
    return new Promise((give, fail) => {
      this.#hands.push({ give, fail });
      if (!this.#asking) void this.#serve();
    });
  }

  /** A run of this process has ended: a limit may allow another. */
  freed(): void {
    this.#wake();
  }

  /** Sends the free hands home. */
  close(): void {
    this.#closed = true;
    this.#wake();
  }

  async #serve(): Promise<void> {
    this.#asking = true;
    // Those who come in the same breath ask together.
    await Promise.resolve();
    while (this.#hands.length > 0) {
      const held = await this.#ask();
      if (this.#closed) this.#giveAll(null);
      else if (held) await this.#moment();
    }
    this.#asking = false;
  }

  /** Whether the hands that got nothing should wait. */
  async #ask(): Promise<boolean> {
    const asking = this.#hands.length;
    const askedAt = performance.now();
    try {
      const { claims, othersWait } = await this.#options.ledger.claimFair({
        queue: this.#options.queue,
        wanted: asking,
      });
      for (const claim of claims) this.#hands.shift()?.give({ claim, askedAt });
      if (claims.length === asking) return false;
      // Those who came while the answer was on its way ask again.
      if (!othersWait) for (const hand of this.#hands.splice(0, asking - claims.length)) hand.give(null);
      return othersWait;
    } catch (error) {
      for (const hand of this.#hands.splice(0, asking)) hand.fail(error);
      return false;
    }
  }

  #giveAll(turn: null): void {
    for (const hand of this.#hands.splice(0)) hand.give(turn);
  }

  #moment(): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#wake = () => {};
        resolve();
      };
      const timer = setTimeout(wake, this.#options.pollMs ?? POLL_MS);
      this.#wake = wake;
    });
  }
}
