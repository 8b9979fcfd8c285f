import type { ControlDatabase } from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyInstance, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { sendProblem } from "../errors.ts";
import { adminSessionUser } from "./admin-session.ts";
import { type Access, type Caller, callerOf } from "./caller.ts";
import { findCaller } from "./membership.ts";
import { mayDo, PERMISSIONS, type Permission } from "./permissions.ts";
import { type TokenVerifier, unauthenticated } from "./token-verifier.ts";

export interface AuthenticationOptions {
  readonly db: ControlDatabase;
  readonly tokens: TokenVerifier;
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
      const userId = await authenticatedUser(request, options);
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

async function authenticatedUser(request: FastifyRequest, options: AuthenticationOptions): Promise<string> {
  if (request.headers.authorization === undefined && request.url.startsWith("/admin/")) {
    const user = adminSessionUser(request.headers.cookie, options.secretKey, new Date());
    if (user !== null) return user;
  }
  return options.tokens.userOf(bearerOf(request));
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
