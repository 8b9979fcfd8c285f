import pino, { type DestinationStream, type Logger, type LoggerOptions } from "pino";

const SECRET_FIELDS = ["connectionString", "password", "secret", "token", "databaseUrl", "redisUrl", "secretKey"];

/** JSON lines, on stdout when no other destination is given. Fields that hold secrets are left out, and whatever looks like `user:password@` is masked in errors. */
export function createLog(
  level: string,
  bindings: Readonly<Record<string, string>>,
  destination?: DestinationStream,
): Logger {
  const options: LoggerOptions = {
    level,
    base: { ...bindings },
    redact: { paths: [...SECRET_FIELDS, ...SECRET_FIELDS.map((field) => `*.${field}`)], censor: "[redacted]" },
    serializers: { error: describeError, err: describeError },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
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

/** The text with `scheme://user:password@host` masked. */
export function withoutCredentials(text: string): string {
  return text.replaceAll(/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@]*@/gi, "$1***@");
}
