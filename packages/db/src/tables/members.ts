import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { allRows } from "../rows.ts";

export const MEMBER_ROLES = ["owner", "admin", "member", "viewer"] as const;
export type MemberRole = (typeof MEMBER_ROLES)[number];

const Membership = z.object({ tenantId: z.uuid(), tenantName: z.string(), role: z.enum(MEMBER_ROLES) });
export type Membership = z.infer<typeof Membership>;

/** The tenants that a user belongs to, by name, but for erased ones: the only place that says so. System only, for no tenant is known yet. */
export async function listMemberships(q: Queryable, userId: string): Promise<Membership[]> {
  const result = await q.query({
    name: "list_memberships",
    text: `SELECT m.tenant_id AS "tenantId", t.name AS "tenantName", m.role FROM user_tenants m JOIN tenants t ON t.id = m.tenant_id
WHERE m.user_id = $1 AND t.erased_at IS NULL ORDER BY t.name, t.id`,
    values: [userId],
  });
  return allRows(result, Membership);
}

const Member = z.object({ userId: z.string(), role: z.enum(MEMBER_ROLES), createdAt: z.date() });
export type Member = z.infer<typeof Member>;

/** The members of a tenant, by user id. */
export async function listMembers(q: Queryable, tenantId: string): Promise<Member[]> {
  const result = await q.query({
    text: `SELECT user_id AS "userId", role, created_at AS "createdAt" FROM user_tenants WHERE tenant_id = $1 ORDER BY user_id`,
    values: [tenantId],
  });
  return allRows(result, Member);
}

/** Makes the user a member in this role, whatever it was before. System only. */
export async function setMember(
  q: Queryable,
  member: { readonly userId: string; readonly tenantId: string; readonly role: MemberRole },
): Promise<void> {
  await q.query({
    text: `INSERT INTO user_tenants (user_id, tenant_id, role) VALUES ($1, $2, $3)
ON CONFLICT (user_id, tenant_id) DO UPDATE SET role = EXCLUDED.role`,
    values: [member.userId, member.tenantId, member.role],
  });
}

/**
 * Ends a membership, and for good the API keys that the member made: back in the tenant one day, he makes new ones.
 * False when there was none. System only.
 */
export async function removeMember(
  q: Queryable,
  userId: string,
  tenantId: string,
  removedBy: string,
): Promise<boolean> {
  const result = await q.query({
    text: `WITH gone AS (DELETE FROM user_tenants WHERE user_id = $1 AND tenant_id = $2 RETURNING user_id, tenant_id),
keys AS (UPDATE api_keys k SET revoked_at = now(), revoked_by = $3 FROM gone
  WHERE k.tenant_id = gone.tenant_id AND k.created_by = gone.user_id AND k.revoked_at IS NULL)
SELECT FROM gone`,
    values: [userId, tenantId, removedBy],
  });
  return result.rowCount === 1;
}
