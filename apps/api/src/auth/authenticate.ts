import type { ControlDatabase } from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyInstance, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { sendProblem } from "../errors.ts";
import { limitedFailure } from "../rate-limiting.ts";
import type { RateLimits } from "../rate-limits.ts";
import { adminSessionUser } from "./admin-session.ts";
import { findKeyCaller, readApiKey } from "./api-key.ts";
import { type Access, type Caller, callerOf, isAllowed } from "./caller.ts";
import { findCaller } from "./membership.ts";
import { isForMembers, mayDo, type Permission } from "./permissions.ts";
import { type TokenVerifier, unauthenticated } from "./token-verifier.ts";

export interface AuthenticationOptions {
  readonly db: ControlDatabase;
  readonly tokens: TokenVerifier;
  readonly limits: RateLimits;
  /** 32 bytes; signs the sessions of /admin. */
  readonly secretKey: Buffer;
}

/**
 * Every route states its `config.access`; a route that forgot is shut, and the app does not start with one.
 * A request is let through, with `request.caller` set, before its body is read.
 */
export const authentication = fp<AuthenticationOptions>(async (app: FastifyInstance, options) => {
  app.decorateRequest("caller", null);
  app.addHook("onRequest", async (request, reply) => {
    if (request.is404) return;
    const { access, signInAt } = request.routeOptions.config;
    if (access === "public") return;
    try {
      request.caller = await authorise(options, request, access);
    } catch (error) {
      // Answered here and not thrown: a plugin's own error handler (Bull Board has one) would make a 500 of it.
      if (signInAt !== undefined && isPageLoad(request) && isUnauthenticated(error))
        return reply.redirect(signInAt, 303);
      return sendProblem(await limitedFailure(options.limits, request, reply, error), request, reply);
    }
  });
});

function isPageLoad(request: FastifyRequest): boolean {
  return request.method === "GET" && (request.headers.accept ?? "").includes("text/html");
}

function isUnauthenticated(error: unknown): boolean {
  return error instanceof RecoveryError && error.code === "unauthenticated";
}

/** RFC 6750 §2.1. Throws `unauthenticated`. */
function bearerOf({ headers }: FastifyRequest): string {
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1];
  if (bearer === undefined) throw unauthenticated();
  return bearer;
}

/** For a route that finds its user by itself. Throws `forbidden`. */
export async function requireOperator(db: ControlDatabase, userId: string, permission: Permission): Promise<void> {
  const caller = await findCaller(db, userId, { namedTenant: undefined, needsTenant: () => false });
  if (!isAllowed(caller, permission)) throw forbidden(permission);
}

/** For a deed that only a person may do, whatever his API key may. Throws `forbidden`. */
export function requirePerson(request: FastifyRequest): void {
  if (callerOf(request).apiKey === null) return;
  throw new RecoveryError("forbidden", "Only a person may do this, not an API key.", {
    hint: "Send the person's own token.",
  });
}

/** For a route whose permission depends on what it finds. Throws `forbidden`. */
export function requirePermission(request: FastifyRequest, permission: Permission): void {
  if (!isAllowed(callerOf(request), permission)) throw forbidden(permission);
}

async function authorise(
  options: AuthenticationOptions,
  request: FastifyRequest,
  access: Access | undefined,
): Promise<Caller> {
  if (access === undefined || access === "public") throw forbidden("anything here");
  const caller = await identify(options, request, access);
  if (access !== "any-user" && !isAllowed(caller, access)) throw forbidden(access);
  return caller;
}

/** Who asks, by API key, session or token, and for which tenant. */
async function identify(
  { db, tokens, secretKey }: AuthenticationOptions,
  request: FastifyRequest,
  access: Permission | "any-user",
): Promise<Caller> {
  const named = request.headers["x-tenant-id"];
  const namedTenant = typeof named === "string" ? named : undefined;
  const session = sessionUser(request, secretKey);
  if (session === null) {
    const apiKey = readApiKey(bearerOf(request));
    if (apiKey !== null) return findKeyCaller(db, apiKey, namedTenant, request.log);
  }
  return findCaller(db, session ?? (await tokens.userOf(bearerOf(request))), {
    namedTenant,
    needsTenant: (isOperator) =>
      access !== "any-user" && !(isOperator && mayDo("operator", access)) && isForMembers(access),
  });
}

function sessionUser(request: FastifyRequest, secretKey: Buffer): string | null {
  if (request.headers.authorization !== undefined || !request.url.startsWith("/admin/")) return null;
  return adminSessionUser(request.headers.cookie, secretKey, new Date());
}

function forbidden(permission: string): RecoveryError {
  return new RecoveryError("forbidden", `Your role, or your API key, does not include ${permission}.`, {
    hint: "Ask an admin of your tenant, or an operator.",
  });
}
