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
    log.error({ error: describeError(error), leftOut }, message);
    last = now;
    leftOut = 0;
  };
}

/** Those that went through here before: the log describes what its callers describe already. */
const DESCRIBED = new WeakSet<object>();

/** What a log may say of an error: no field of the driver's (which may hold rows or settings), and no credentials. */
export function describeError(error: unknown): object {
  if (typeof error === "object" && error !== null && DESCRIBED.has(error)) return error;
  const described = error instanceof Error ? fieldsOf(error) : { message: withoutCredentials(String(error)) };
  DESCRIBED.add(described);
  return described;
}

function fieldsOf(error: Error): object {
  const cause = error.cause === undefined ? {} : { cause: describeError(error.cause) };
  return {
    name: error.name,
    message: withoutCredentials(error.message),
    stack: withoutCredentials(error.stack ?? ""),
    ...("code" in error && typeof error.code === "string" ? { code: error.code } : {}),
    ...cause,
  };
}

/** Where an unexpected error came from: its names and frames, causes included, and none of its words, which may hold a row's value. */
export function describeDefect(error: unknown): object {
  if (!(error instanceof Error)) return { name: typeof error };
  const frames = (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line));
  return {
    name: error.name,
    frames,
    ...("code" in error && typeof error.code === "string" ? { code: error.code } : {}),
    ...(error.cause === undefined ? {} : { cause: describeDefect(error.cause) }),
  };
}

/** The text with `scheme://user:password@host` masked. */
export function withoutCredentials(text: string): string {
  return text.replaceAll(/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@]*@/gi, "$1***@");
}
