import { describeError } from "@rowback/jobs";
import { type DestinationStream, type Logger, type LoggerOptions, pino } from "pino";

/** Structured lines, on stdout when no other destination is given. Credentials never reach one (DESIGN §5.10): headers are not logged, and these paths are blotted out. */
export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options: LoggerOptions = {
    level,
    base: { app: "api" },
    redact: {
      paths: [
        "headers",
        "*.headers",
        "authorization",
        "*.authorization",
        "cookie",
        "*.cookie",
        "connection",
        "*.connection",
        "token",
        "*.token",
      ],
      censor: "[redacted]",
    },
    serializers: {
      // The query is left out: a link somebody made by hand may carry a token there.
      req: (request: { method: string; url: string; id: string }) => ({
        method: request.method,
        path: request.url.split("?")[0],
      }),
      res: (reply: { statusCode: number }) => ({ status: reply.statusCode }),
      err: describeError,
      error: describeError,
    },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}
