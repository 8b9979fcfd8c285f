import type { SourceClient } from "./source.ts";

export interface SnapshotCrewOptions {
  readonly leader: SourceClient;
  readonly maxConnections: number;
  /** Opens one more connection of the snapshot and gives it to `serve` until that resolves; null when none is to be had. */
  readonly openFollower: (serve: (client: SourceClient) => Promise<void>) => Promise<void> | null;
  /** What a failed task's asker is told; only here it is known which connection failed. */
  readonly classify: (error: unknown, client: SourceClient) => Error;
}

type Task = (client: SourceClient) => Promise<void>;

/** Spreads work over the connections of one snapshot, the leader first. */
export class SnapshotCrew {
  readonly #options: SnapshotCrewOptions;
  readonly #queue: Task[] = [];
  readonly #idle: ((task: Task | null) => void)[] = [];
  readonly #followers = new Set<Promise<void>>();
  #leaderBusy = false;
  #dismissed = false;
  /** A server that refused one follower (no free connection, a lost network) is not asked again. */
  #mayGrow = true;

  constructor(options: SnapshotCrewOptions) {
    this.#options = options;
  }

  run<T>(fn: (client: SourceClient) => Promise<T>): Promise<T> {
    if (this.#dismissed) return Promise.reject(new Error("The snapshot has ended."));
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#queue.push(async (client) => {
      try {
        resolve(await fn(client));
      } catch (error) {
        const classified = this.#options.classify(error, client);
        reject(classified);
        throw classified;
      }
    });
    this.#dispatch();
    return promise;
  }

  /** Ends when every follower has given its connection back. Work that was not begun never begins. */
  async dismiss(): Promise<void> {
    this.#dismissed = true;
    this.#queue.length = 0;
    for (const wake of this.#idle.splice(0)) wake(null);
    await Promise.all(this.#followers);
  }

  #dispatch(): void {
    if (this.#queue.length === 0) return;
    if (!this.#leaderBusy) return void this.#lead();
    const wake = this.#idle.shift();
    if (wake !== undefined) wake(this.#queue.shift() ?? null);
    else this.#grow();
  }

  async #lead(): Promise<void> {
    this.#leaderBusy = true;
    for (let task = this.#queue.shift(); task !== undefined; task = this.#queue.shift()) {
      // What the task threw has reached its asker; a leader in a failed transaction fails the next one too.
      await task(this.#options.leader).catch(() => undefined);
    }
    this.#leaderBusy = false;
  }

  #grow(): void {
    if (!this.#mayGrow || this.#followers.size >= this.#options.maxConnections - 1) return;
    const following = this.#options.openFollower((client) => this.#serve(client));
    if (following === null) return;
    const settled = following.catch(() => {
      this.#mayGrow = false;
      this.#dispatch();
    });
    this.#followers.add(settled);
    void settled.finally(() => this.#followers.delete(settled));
  }

  async #serve(client: SourceClient): Promise<void> {
    for (;;) {
      const task = this.#queue.shift() ?? (await this.#nextTask());
      if (task === null) return;
      await task(client);
    }
  }

  #nextTask(): Promise<Task | null> {
    if (this.#dismissed) return Promise.resolve(null);
    const { promise, resolve } = Promise.withResolvers<Task | null>();
    this.#idle.push(resolve);
    return promise;
  }
}
