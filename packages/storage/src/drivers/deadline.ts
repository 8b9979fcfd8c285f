/** A call with a time limit of its own beside the caller's signal. */
export interface Deadline {
  /** Aborts when the caller's does, or when the time is up. */
  readonly signal: AbortSignal;
  readonly expired: boolean;
  /** Ends the limit; forgotten, it would keep the process alive and the caller's signal full of listeners. */
  clear(): void;
}

/** @param ms from now, or from the last `restart`. */
export function startDeadline(
  ms: number,
  outer: AbortSignal | undefined,
): Deadline & { restart(): void; pause(): void } {
  const controller = new AbortController();
  let expired = false;
  let timer: NodeJS.Timeout | undefined;
  const onAbort = (): void => controller.abort(outer?.reason);
  const pause = (): void => clearTimeout(timer);
  const restart = (): void => {
    pause();
    timer = setTimeout(() => {
      expired = true;
      controller.abort(new Error(`No answer within ${ms} ms.`));
    }, ms);
  };
  if (outer?.aborted) onAbort();
  outer?.addEventListener("abort", onAbort, { once: true });
  restart();
  return {
    signal: controller.signal,
    get expired() {
      return expired;
    },
    restart,
    pause,
    clear: () => {
      pause();
      outer?.removeEventListener("abort", onAbort);
    },
  };
}
