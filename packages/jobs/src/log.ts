/** What this package says; pino's loggers fit. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

// A Redis that is gone fails every command of every connection, several times a second, for as long as it takes.
const EVERY_MS = 10_000;

/** Logs the first error at once, then at most one each ten seconds with the number of those left out. */
export function throttledErrors(log: Log, message: string, everyMs: number = EVERY_MS): (error: Error) => void {
  let last = Number.NEGATIVE_INFINITY;
  let leftOut = 0;
  return (error) => {
    const now = performance.now();
    if (now - last < everyMs) {
      leftOut += 1;
      return;
    }
    log.error({ error: { name: error.name, message: error.message }, leftOut }, message);
    last = now;
    leftOut = 0;
  };
}
