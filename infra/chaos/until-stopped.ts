const startedAt = Date.now();

/** A line of progress, with the seconds since the program began; the last line of stdout is the verdict's. */
export function say(line: string): void {
  console.error(`[${((Date.now() - startedAt) / 1000).toFixed(0)} s] ${line}`);
}

/**
 * The frame of a long program: a signal aborts it, which ends it with 130; what it started is ended whatever happens, the last first.
 * @param run adds to `cleanups` what has to be ended
 */
export async function untilStopped(
  run: (cleanups: (() => Promise<void>)[], signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(name, () => stop.abort(new Error(`stopped by ${name}`)));
  const cleanups: (() => Promise<void>)[] = [];
  try {
    await run(cleanups, stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    say("stopped");
    process.exitCode = 130;
  } finally {
    for (const cleanup of cleanups.reverse())
      await cleanup().catch((error: unknown) => say(`clean-up: ${String(error)}`));
  }
}
