import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyRequest } from "fastify";
import { mayDo, type Permission, type Role } from "./permissions.ts";

/** What a route asks of its caller: a permission, any valid token, or nothing at all. */
export type Access = Permission | "any-user" | "public";

type TenantRole = Exclude<Role, "operator">;

/** Who is asking. `tenant` is the one tenant that this request acts for. */
export interface Caller {
  readonly userId: string;
  readonly isOperator: boolean;
  readonly tenant: { readonly id: string; readonly role: TenantRole } | null;
  /** The API key that speaks for the user, and the permissions it has at most; null: the user himself. */
  readonly apiKey: { readonly id: string; readonly scopes: readonly string[] } | null;
}

/** A member's request: what tenants' routes get. */
export interface TenantCaller {
  readonly userId: string;
  readonly tenantId: string;
  readonly isOperator: boolean;
}

declare module "fastify" {
  interface FastifyContextConfig {
    access?: Access;
    /** The response lasts as long as its run: no request time-out. */
    isStream?: boolean;
    /** Where a browser that loads this page without a token is sent. */
    signInAt?: string;
  }
  interface FastifyRequest {
    caller: Caller | null;
  }
}

/** The caller of a route that asks for one. */
export function callerOf(request: FastifyRequest): Caller {
  if (request.caller === null)
    throw new RecoveryError("internal", "the route's access is public, yet it asks who calls");
  return request.caller;
}

/** The caller of a tenant's route. */
export function tenantCallerOf(request: FastifyRequest): TenantCaller {
  const { userId, tenant, isOperator } = callerOf(request);
  if (tenant === null)
    throw new RecoveryError("internal", "the route's permission is an operator's, yet it asks for a tenant");
  return { userId, tenantId: tenant.id, isOperator };
}

/** Whether the caller's role includes the permission, and his API key, if he came with one, does too. */
export function isAllowed({ isOperator, tenant, apiKey }: Caller, permission: Permission): boolean {
  if (apiKey !== null && !apiKey.scopes.includes(permission)) return false;
  return (isOperator && mayDo("operator", permission)) || (tenant !== null && mayDo(tenant.role, permission));
}
