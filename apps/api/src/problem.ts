import { InvalidCursorError } from "@rowback/db";
import { withoutCredentials } from "@rowback/jobs";
import { ERROR_CATALOG, type ErrorCode, RecoveryError } from "@rowback/recovery/errors";
import type { FastifyError } from "fastify";
import { hasZodFastifySchemaValidationErrors } from "fastify-type-provider-zod";
import { z } from "zod";

export const PROBLEM_MEDIA_TYPE = "application/problem+json";

/** One thing that is wrong with the request, and where: `tables[3]`, `limit`, `X-Tenant-Id`. */
const FieldError = z.object({ path: z.string(), message: z.string() });
export type FieldError = z.infer<typeof FieldError>;

/** RFC 9457. `code` is stable (docs/errors.md); the words of `detail` and `hint` are not. */
export const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string(),
    detail: z.string(),
    hint: z.string().optional(),
    requestId: z.string(),
    tenantId: z.string().optional(),
    runId: z.string().optional(),
    sourceId: z.string().optional(),
    table: z.string().optional(),
    errors: z.array(FieldError).optional(),
  })
  .meta({ id: "Problem", description: "RFC 9457 problem details" });
export type Problem = z.infer<typeof Problem>;

/** The request is wrong in named places: answers 400 with one `errors` entry each. */
export class FieldErrors extends RecoveryError {
  readonly errors: readonly FieldError[];

  constructor(code: ErrorCode, given: readonly FieldError[], hint?: string) {
    // Both may quote what was sent: a connection string in the wrong place must not come into our log by that.
    const errors = given.map(({ path, message }) => ({
      path: withoutCredentials(path),
      message: withoutCredentials(message),
    }));
    super(code, errors.map(({ path, message }) => `${path}: ${message}`).join("; "), { hint });
    this.errors = errors;
  }
}

/** "No such thing" in the same words whether it does not exist or is another tenant's. */
export function notFound(what: string): RecoveryError {
  return new RecoveryError("not_found", `There is no such ${what}, or it is not yours to see.`);
}

/**
 * Turns whatever was thrown into the problem that a client may see. Only a RecoveryError's own words leave;
 * anything unexpected is `internal` with the request's id, by which the log has the rest.
 */
export function toProblem(error: unknown, requestId: string): Problem {
  const known = toKnownError(error);
  const { status, summary } = ERROR_CATALOG[known.code];
  const isDefect = known.code === "internal";
  return dropUndefined({
    type: `urn:rowback:error:${known.code}`,
    title: summary,
    status,
    code: known.code,
    detail: isDefect ? "Something went wrong inside Rowback; its log says what, under this request id." : known.message,
    hint: isDefect ? "Report the request id to the operator." : known.hint,
    requestId,
    tenantId: known.context.tenantId,
    runId: known.context.runId,
    sourceId: known.context.sourceId,
    table: known.context.table,
    errors: known instanceof FieldErrors ? [...known.errors] : undefined,
  });
}

function toKnownError(error: unknown): RecoveryError {
  if (error instanceof RecoveryError) return error;
  if (error instanceof InvalidCursorError) {
    return new FieldErrors("invalid_request", [
      { path: "cursor", message: "is not the `next` of a page of this list" },
    ]);
  }
  if (hasZodFastifySchemaValidationErrors(error)) return validationError(error);
  if (isFastifyError(error)) return requestError(error);
  if (isUnreachable(error)) {
    return new RecoveryError("unavailable", "The control database does not answer.", {
      hint: "Try again in a moment; /readyz says what is down.",
      cause: error,
    });
  }
  return new RecoveryError("internal", "unexpected", { cause: error });
}

function validationError(error: {
  validation: readonly { instancePath: string; message?: string; params?: unknown }[];
  validationContext?: unknown;
}): FieldErrors {
  const where = typeof error.validationContext === "string" ? error.validationContext : "body";
  return new FieldErrors(
    "invalid_request",
    error.validation.flatMap((issue) =>
      fieldsOf(issue.instancePath, issue.params, where).map((path) => ({
        path,
        message: issue.message ?? "is not valid",
      })),
    ),
  );
}

function fieldsOf(instancePath: string, params: unknown, where: string): string[] {
  const path = instancePath
    .split("/")
    .filter((segment) => segment !== "")
    .reduce((joined, segment) => (/^\d+$/.test(segment) ? `${joined}[${segment}]` : joinName(joined, segment)), "");
  const unknownKeys = UnknownKeys.safeParse(params);
  if (unknownKeys.success) return unknownKeys.data.keys.map((key) => joinName(path, key));
  return [path === "" ? where : path];
}

const UnknownKeys = z.object({ keys: z.array(z.string()).min(1) });

function joinName(parent: string, name: string): string {
  return parent === "" ? name : `${parent}.${name}`;
}

/** What Fastify itself refuses before a handler runs: bad JSON, a body too large, a wrong media type, a time-out. */
function requestError(error: FastifyError): RecoveryError {
  switch (error.code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return new RecoveryError("payload_too_large", "The body is too large.");
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return new RecoveryError("unsupported_media_type", "The body must be application/json.");
    case "FST_ERR_HANDLER_TIMEOUT":
      return new RecoveryError("unavailable", "The request took too long.", { hint: "Try again in a moment." });
    default:
      break;
  }
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    return error.statusCode === 404 ? notFound("route") : new FieldErrors("invalid_request", [malformedPart(error)]);
  }
  return new RecoveryError("internal", "unexpected", { cause: error });
}

function malformedPart(error: FastifyError): FieldError {
  if (error.code === "FST_ERR_BAD_URL") return { path: "url", message: "is not a valid URL" };
  return { path: "body", message: "is not valid JSON" };
}

function isFastifyError(error: unknown): error is FastifyError {
  return error instanceof Error && "code" in error && typeof error.code === "string" && "statusCode" in error;
}

/** Socket errors, and the SQLSTATE classes in which PostgreSQL says "not now": 08 connection, 57P shutdown, 53300 too many. */
function isUnreachable(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isUnreachable);
  if (!(error instanceof Error)) return false;
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  return /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|08...|57P0.|53300)$/.test(code);
}

function dropUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return JSON.parse(JSON.stringify(value));
}
