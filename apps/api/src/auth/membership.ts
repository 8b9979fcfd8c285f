import { type ControlDatabase, isOperator, listMemberships, type Membership } from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import { z } from "zod";
import { FieldErrors, notFound } from "../problem.ts";
import type { Caller } from "./caller.ts";

export interface Asked {
  /** The request's X-Tenant-Id. */
  readonly namedTenant: string | undefined;
  /** False where an operator may act for no tenant at all. */
  readonly needsTenant: (isOperator: boolean) => boolean;
}

/**
 * The one place that finds a person's tenant (AUDIT B1): among the memberships in `user_tenants`, and nowhere else.
 * (An API key has one tenant, and only while its maker is a member there: `findKeyCaller`.)
 * Throws `not_found` for a tenant that is not the user's, in the words for one that does not exist; `invalid_request`
 * where a member of several names none; `forbidden` where a member of none needs one.
 */
export async function findCaller(db: ControlDatabase, userId: string, asked: Asked): Promise<Caller> {
  const [memberships, operator] = await Promise.all([
    listMemberships(db.system, userId),
    isOperator(db.system, userId),
  ]);
  const membership = chooseMembership(memberships, asked.namedTenant, asked.needsTenant(operator));
  return {
    userId,
    isOperator: operator,
    tenant: membership === null ? null : { id: membership.tenantId, role: membership.role },
    apiKey: null,
  };
}

/** Which membership a request is about; null where it needs none. Throws like `findCaller`. */
export function chooseMembership(
  memberships: readonly Membership[],
  namedTenant: string | undefined,
  needsTenant: boolean,
): Membership | null {
  if (namedTenant !== undefined) {
    if (!z.uuid().safeParse(namedTenant).success) {
      throw new FieldErrors("invalid_request", [{ path: "X-Tenant-Id", message: "must be a tenant's id" }]);
    }
    const named = memberships.find(({ tenantId }) => tenantId === namedTenant.toLowerCase());
    if (named === undefined) throw notFound("tenant");
    return named;
  }
  const [only, another] = memberships;
  if (only !== undefined && another === undefined) return only;
  if (!needsTenant) return null;
  if (only === undefined) {
    throw new RecoveryError("forbidden", "You are a member of no tenant.", {
      hint: "Ask an operator to make you one.",
    });
  }
  throw new FieldErrors(
    "invalid_request",
    [{ path: "X-Tenant-Id", message: "is needed, because you are a member of several tenants" }],
    "GET /v1/tenants lists them.",
  );
}
