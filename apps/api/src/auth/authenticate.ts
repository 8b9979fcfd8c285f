import fastifyJwt from "@fastify/jwt";
import type { ControlDatabase } from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyInstance, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { z } from "zod";
import { sendProblem } from "../errors.ts";
import { adminSessionUser } from "./admin-session.ts";
import { type Access, type Caller, callerOf } from "./caller.ts";
import { findCaller } from "./membership.ts";
import { mayDo, PERMISSIONS, type Permission } from "./permissions.ts";

/** All that is read from a token. Its other claims are its bearer's word about himself, and decide nothing (AUDIT B1). */
const Claims = z.object({ sub: z.string().min(1).max(200) });

export interface AuthenticationOptions {
  readonly db: ControlDatabase;
  readonly jwtSecret: string;
}

/**
 * Every route states its `config.access`; a route that forgot is shut, and the app does not start with one.
 * A request is let through, with `request.caller` set, before its body is read.
 */
export const authentication = fp<AuthenticationOptions>(async (app: FastifyInstance, options) => {
  await app.register(fastifyJwt, {
    secret: options.jwtSecret,
    sign: { algorithm: "HS256" },
    // Pinned: a token must not choose how it is checked ("alg": "none"). One without an end could never be taken back.
    verify: { algorithms: ["HS256"], requiredClaims: ["sub", "exp"] },
  });
  app.decorateRequest("caller", null);
  app.addHook("onRequest", async (request, reply) => {
    if (request.is404) return;
    const { access, signInAt } = request.routeOptions.config;
    if (access === "public") return;
    try {
      const userId = await authenticatedUser(request, options.jwtSecret);
      request.caller = await authorise(options.db, request, userId, access);
    } catch (error) {
      // Answered here and not thrown: a plugin's own error handler (Bull Board has one) would make a 500 of it.
      if (signInAt !== undefined && isPageLoad(request) && isUnauthenticated(error))
        return reply.redirect(signInAt, 303);
      return sendProblem(error, request, reply);
    }
  });
});

function isPageLoad(request: FastifyRequest): boolean {
  return request.method === "GET" && (request.headers.accept ?? "").includes("text/html");
}

function isUnauthenticated(error: unknown): boolean {
  return error instanceof RecoveryError && error.code === "unauthenticated";
}

async function authenticatedUser(request: FastifyRequest, secret: string): Promise<string> {
  if (request.headers.authorization === undefined && request.url.startsWith("/admin/")) {
    const user = adminSessionUser(request.headers.cookie, secret, new Date());
    if (user !== null) return user;
  }
  return userOfToken(request);
}

/** The user of the request's bearer token, or of `token`. Throws `unauthenticated`. */
export async function userOfToken(request: FastifyRequest, token?: string): Promise<string> {
  try {
    return Claims.parse(token === undefined ? await request.jwtVerify() : request.server.jwt.verify(token)).sub;
  } catch (cause) {
    // One answer for a missing, expired, altered or malformed token: the difference helps only an attacker.
    throw new RecoveryError("unauthenticated", "The request carries no valid bearer token.", {
      hint: "Send Authorization: Bearer <token>, an unexpired HS256 token with sub and exp.",
      cause,
    });
  }
}

/** For a route that finds its user by itself. Throws `forbidden`. */
export async function requireOperator(db: ControlDatabase, userId: string, permission: Permission): Promise<void> {
  const caller = await findCaller(db, userId, { namedTenant: undefined, needsTenant: () => false });
  if (!isAllowed(caller, permission)) throw forbidden(permission);
}

/** For a route whose permission depends on what it finds. Throws `forbidden`. */
export function requirePermission(request: FastifyRequest, permission: Permission): void {
  if (!isAllowed(callerOf(request), permission)) throw forbidden(permission);
}

async function authorise(
  db: ControlDatabase,
  request: FastifyRequest,
  userId: string,
  access: Access | undefined,
): Promise<Caller> {
  if (access === undefined || access === "public") throw forbidden("anything here");
  const named = request.headers["x-tenant-id"];
  const caller = await findCaller(db, userId, {
    namedTenant: typeof named === "string" ? named : undefined,
    needsTenant: (isOperator) =>
      access !== "any-user" && !(isOperator && mayDo("operator", access)) && isForMembers(access),
  });
  if (access !== "any-user" && !isAllowed(caller, access)) throw forbidden(access);
  return caller;
}

function isAllowed(caller: Caller, permission: Permission): boolean {
  if (caller.isOperator && mayDo("operator", permission)) return true;
  return caller.tenant !== null && mayDo(caller.tenant.role, permission);
}

function isForMembers(permission: Permission): boolean {
  return PERMISSIONS[permission].some((role) => role !== "operator");
}

function forbidden(permission: string): RecoveryError {
  return new RecoveryError("forbidden", `Your role does not include ${permission}.`, {
    hint: "Ask an admin of your tenant, or an operator.",
  });
}
