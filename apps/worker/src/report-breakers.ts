import { type Queryable, reportBreakers, withdrawBreakers } from "@rowback/db";
import { type Breakers, describeError, type Log } from "@rowback/jobs";

/** How often a worker says how its breakers are: the age of what /readyz of the API shows. */
const EVERY_MS = 5_000;
/** Two reports may be lost before a worker counts as gone. */
const TTL_MS = 3 * EVERY_MS;

/** Tells the control database of this worker's breakers, again and again, until it is closed. What can't be told now is told the next time. */
export function startBreakerReports(options: {
  readonly control: Queryable;
  readonly workerName: string;
  readonly breakers: Breakers;
  readonly log: Log;
}): { close(): Promise<void> } {
  const { control, workerName, breakers, log } = options;
  let telling: Promise<void> = Promise.resolve();
  const tell = async (): Promise<void> => {
    const states = breakers.statuses().map(({ dependency, state }) => ({ dependency, state }));
    await reportBreakers(control, { worker: workerName, breakers: states, ttlMs: TTL_MS }).catch((error: unknown) =>
      log.debug({ error: describeError(error) }, "the breakers' states could not be told"),
    );
  };
  const timer = setInterval(() => {
    telling = telling.then(tell);
  }, EVERY_MS);
  telling = tell();
  return {
    close: async () => {
      clearInterval(timer);
      await telling;
      await withdrawBreakers(control, workerName).catch((error: unknown) =>
        log.debug({ error: describeError(error) }, "the breakers' states could not be withdrawn"),
      );
    },
  };
}
