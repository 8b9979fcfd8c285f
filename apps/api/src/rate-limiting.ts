import { isIPv6 } from "node:net";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { sendProblem } from "./errors.ts";
import type { Allowance, RateLimits } from "./rate-limits.ts";

const READS = new Set(["GET", "HEAD"]);

/**
 * Counts every request whose caller is known, by user, tenant and route; one too many is answered 429 before its body is
 * read. Register it after `authentication`, which counts those it could not make out (`limitedFailure`). What is public says nothing of who asks:
 * /healthz, /readyz, /metrics and the documentation are for the machinery around, and are not counted.
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
 * What to answer to a request that brought no valid token or key: the error itself, or `rate_limited` to an address that came so too often. Others from
 * there are served all the same: behind one address may be a whole office, or a proxy that TRUSTED_PROXIES does not know.
 */
export async function limitedFailure(
  limits: RateLimits,
  request: FastifyRequest,
  reply: FastifyReply,
  error: unknown,
): Promise<unknown> {
  if (!(error instanceof RecoveryError) || error.code !== "unauthenticated") return error;
  const allowed = await limits.request("failures", networkOf(request.ip));
  tellAllowance(reply, allowed);
  return allowed.exceeded ? rateLimited(allowed) : error;
}

/** Who has an IPv6 address has a /64 of them to come from. */
export function networkOf(address: string): string {
  if (!isIPv6(address) || address.startsWith("::ffff:")) return address;
  const [head = [], tail = []] = address.split("::").map((text) => text.split(":").filter((group) => group !== ""));
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => "0");
  return `${[...head, ...zeros, ...tail].slice(0, 4).join(":")}::/64`;
}

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
  const what = {
    reads: "reads of one user on one route",
    writes: "writes of one user on one route",
    failures: "requests without a valid token or key from one address",
    backups: "backups of one user for one tenant",
  }[policy];
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
