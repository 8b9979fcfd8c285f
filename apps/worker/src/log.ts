import { describeError } from "@rowback/jobs";
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
