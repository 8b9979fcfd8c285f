import { randomUUID } from "node:crypto";
import { JOBS, type JobName } from "../catalog.ts";
import type {
  Claim,
  ClaimRequest,
  Failure,
  FairClaims,
  HeldClaim,
  PutBack,
  RunLedger,
  RunProgress,
} from "../ledger.ts";

export interface MemoryRun {
  readonly id: string;
  readonly name: JobName;
  /** Of another run, whose worker takes it. */
  readonly isChild: boolean;
  status: "queued" | "running" | "succeeded" | "failed" | "cancelled";
  attempt: number;
  maxAttempts: number;
  token: string | null;
  cancelRequested: boolean;
  availableAt: number;
  outcome: unknown;
  failure: Failure | null;
  progress: RunProgress[];
}

/** The control database's rules in a Map, for tests. `down = true` makes every call fail as a lost connection does. */
export class MemoryLedger implements RunLedger<MemoryRun, unknown> {
  readonly runs = new Map<string, MemoryRun>();
  down = false;
  renewals = 0;
  /** How many runs of a queue may be running. */
  most = Number.POSITIVE_INFINITY;
  /** The calls of `claimFair`. */
  readonly asked: ClaimRequest[] = [];

  add(options: { maxAttempts?: number; name?: JobName; isChild?: boolean } = {}): MemoryRun {
    const run: MemoryRun = {
      id: randomUUID(),
      name: options.name ?? "backup",
      isChild: options.isChild ?? false,
      status: "queued",
      attempt: 0,
      maxAttempts: options.maxAttempts ?? 3,
      token: null,
      cancelRequested: false,
      availableAt: Date.now(),
      outcome: undefined,
      failure: null,
      progress: [],
    };
    this.runs.set(run.id, run);
    return run;
  }

  /** What the sweeper does with a lease that ended. */
  takeBack(run: MemoryRun): void {
    run.status = "queued";
    run.token = null;
  }

  /** The first that was added comes first: fairness among tenants is the database's. */
  async claimFair(request: ClaimRequest): Promise<FairClaims<MemoryRun>> {
    this.#answer();
    this.asked.push(request);
    const ofQueue = [...this.runs.values()].filter((run) => JOBS[run.name].queue === request.queue && !run.isChild);
    const running = ofQueue.filter((run) => run.status === "running").length;
    const due = ofQueue.filter((run) => run.status === "queued" && run.availableAt <= Date.now() + 1_000);
    const taken = due.slice(0, Math.max(0, Math.min(request.wanted, this.most - running)));
    const claims = (await Promise.all(taken.map((run) => this.claim(run.id)))).filter((claim) => claim !== null);
    return { claims, othersWait: due.length > claims.length };
  }

  async claim(runId: string): Promise<Claim<MemoryRun> | null> {
    this.#answer();
    const run = this.runs.get(runId);
    if (run === undefined || run.status !== "queued" || run.availableAt > Date.now() + 1_000) return null;
    if (run.attempt >= run.maxAttempts) return null;
    run.status = "running";
    run.attempt += 1;
    run.token = randomUUID();
    return { runId, name: run.name, token: run.token, attempt: run.attempt, maxAttempts: run.maxAttempts, run };
  }

  async renew(claims: readonly Claim<MemoryRun>[]): Promise<HeldClaim[]> {
    this.#answer();
    this.renewals += 1;
    return claims
      .filter((claim) => this.#held(claim) !== null)
      .map((claim) => ({ token: claim.token, cancelRequested: claim.run.cancelRequested }));
  }

  async cancelRequested(claims: readonly Claim<MemoryRun>[]): Promise<string[]> {
    this.#answer();
    return claims.filter((claim) => this.#held(claim)?.cancelRequested === true).map((claim) => claim.token);
  }

  async progress(claim: Claim<MemoryRun>, progress: RunProgress): Promise<HeldClaim | null> {
    this.#answer();
    const run = this.#held(claim);
    if (run === null) return null;
    run.progress.push(progress);
    return { token: claim.token, cancelRequested: run.cancelRequested };
  }

  async succeed(claim: Claim<MemoryRun>, outcome: unknown): Promise<boolean> {
    return this.#end(claim, (run) => {
      run.status = "succeeded";
      run.outcome = outcome;
    });
  }

  async fail(claim: Claim<MemoryRun>, failure: Failure): Promise<boolean> {
    return this.#end(claim, (run) => {
      run.status = "failed";
      run.failure = failure;
    });
  }

  async retry(claim: Claim<MemoryRun>, failure: Failure, delayMs: number): Promise<PutBack | null> {
    const held = this.#end(claim, (run) => {
      run.status = "queued";
      run.failure = failure;
      run.availableAt = Date.now() + delayMs;
    });
    return held ? "queued" : null;
  }

  async release(claim: Claim<MemoryRun>): Promise<PutBack | null> {
    const held = this.#end(claim, (run) => {
      run.status = "queued";
      run.attempt -= 1;
    });
    return held ? "queued" : null;
  }

  async postpone(claim: Claim<MemoryRun>, failure: Failure, delayMs: number): Promise<PutBack | null> {
    const held = this.#end(claim, (run) => {
      run.status = "queued";
      run.attempt -= 1;
      run.failure = failure;
      run.availableAt = Date.now() + delayMs;
    });
    return held ? "queued" : null;
  }

  async cancel(claim: Claim<MemoryRun>): Promise<boolean> {
    return this.#end(claim, (run) => {
      run.status = "cancelled";
    });
  }

  #end(claim: Claim<MemoryRun>, change: (run: MemoryRun) => void): boolean {
    this.#answer();
    const run = this.#held(claim);
    if (run === null) return false;
    run.token = null;
    change(run);
    return true;
  }

  #held(claim: Claim<MemoryRun>): MemoryRun | null {
    const run = this.runs.get(claim.runId);
    return run !== undefined && run.status === "running" && run.token === claim.token ? run : null;
  }

  #answer(): void {
    if (this.down) throw new Error("connection terminated");
  }
}
