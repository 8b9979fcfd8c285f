import { setTimeout as delay } from "node:timers/promises";

const ASK_AGAIN_MS = 1_000;

/** Looks again and again until it is `good`, or the time is over: then what was seen last counts. */
export async function settled<T>(
  look: () => Promise<T>,
  good: (seen: T) => boolean,
  withinMs: number,
  signal: AbortSignal,
  everyMs: number = ASK_AGAIN_MS,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const seen = await look();
    if (good(seen) || Date.now() > deadline) return seen;
    await delay(everyMs, undefined, { signal });
  }
}
