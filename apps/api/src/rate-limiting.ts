import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyInstance, FastifyReply } from "fastify";
import fp from "fastify-plugin";
import { sendProblem } from "./errors.ts";
import type { Allowance, RateLimits } from "./rate-limits.ts";

const READS = new Set(["GET", "HEAD"]);

/**
 * Counts every request whose caller is known, by user, tenant and route; one too many is answered 429 before its body is
 * read. Register it after `authentication`. What is public says nothing of who asks: /healthz, /readyz, /metrics and the
 * documentation are for the machinery around, and are not counted.
 */
export const rateLimiting = fp<{ readonly limits: RateLimits }>(async (app: FastifyInstance, { limits }) => {
  app.addHook("onRequest", async (request, reply) => {
    const { caller } = request;
    if (caller === null) return;
    const key = `${caller.userId}:${caller.tenant?.id ?? "none"}:${request.method} ${request.routeOptions.url ?? ""}`;
    const allowed = await limits.request(READS.has(request.method) ? "reads" : "writes", key);
    tellAllowance(reply, allowed);
    if (allowed.exceeded) return sendProblem(rateLimited(allowed), request, reply);
  });
});

/**
 * The headers of draft-ietf-httpapi-ratelimit-headers (version 10) for one more limit that this request was counted
 * against, and `Retry-After` (RFC 9110) once it is exceeded.
 */
function tellAllowance(reply: FastifyReply, allowed: Allowance): void {
  const { policy, limit, windowSeconds, left, resetSeconds, exceeded } = allowed;
  addToList(reply, "ratelimit-policy", `"${policy}";q=${limit};w=${windowSeconds}`);
  addToList(reply, "ratelimit", `"${policy}";r=${left};t=${resetSeconds}`);
  if (exceeded) reply.header("retry-after", String(resetSeconds));
}

function addToList(reply: FastifyReply, name: string, item: string): void {
  const present = reply.getHeader(name);
  reply.header(name, present === undefined ? item : `${String(present)}, ${item}`);
}

/** The refusal of a request that is one too many. */
function rateLimited({ policy, limit, windowSeconds, resetSeconds }: Allowance, tenantId?: string): RecoveryError {
  const what = policy === "backups" ? "backups of one user for one tenant" : `${policy} of one user on one route`;
  return new RecoveryError("rate_limited", `No more than ${limit} ${what} in ${windowSeconds} seconds.`, {
    tenantId,
    hint: `Try again in ${resetSeconds} seconds.`,
  });
}

/** @throws RecoveryError `rate_limited` when it is one too many; its headers are set either way */
export function requireAllowance(reply: FastifyReply, allowed: Allowance, tenantId: string): void {
  tellAllowance(reply, allowed);
  if (allowed.exceeded) throw rateLimited(allowed, tenantId);
}
