import type { BreakerStatus, Breakers } from "@rowback/jobs";

export interface Readiness {
  /** Whether runs can be worked on at all; one source that is away does not keep a worker from the others. */
  readonly ready: boolean;
  readonly database: boolean;
  readonly redis: boolean;
  readonly breakers: readonly BreakerStatus[];
}

// Load balancers ask every few seconds and give up early.
const ANSWER_MS = 2_000;

/** Asks what this worker stands on, and says which dependencies are given a rest. Never throws. */
export async function readReadiness(asked: {
  readonly database: () => Promise<unknown>;
  readonly redis: () => Promise<unknown>;
  readonly breakers: Breakers;
}): Promise<Readiness> {
  const [database, redis] = await Promise.all([answers(asked.database()), answers(asked.redis())]);
  const breakers = asked.breakers.statuses();
  const storeIsWell = breakers.every(({ dependency, state }) => dependency !== "store" || state === "closed");
  return { ready: database && redis && storeIsWell, database, redis, breakers };
}

async function answers(question: Promise<unknown>): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  const timer = setTimeout(late.resolve, ANSWER_MS, false);
  const answered = question.then(
    () => true,
    () => false,
  );
  return await Promise.race([answered, late.promise]).finally(() => clearTimeout(timer));
}
