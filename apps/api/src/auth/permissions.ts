/** A member's role in a tenant, or `operator`: a person of the company that runs Rowback, who is nobody's member by that. */
export type Role = "owner" | "admin" | "member" | "viewer" | "operator";

const EVERY_MEMBER = ["owner", "admin", "member", "viewer"] as const;
const MAKERS = ["owner", "admin", "member"] as const;
const DECIDERS = ["owner", "admin"] as const;

/** Who may do what. Operators manage sources and tenants; they read no tenant's rows, plans or backups unless they are its member. */
export const PERMISSIONS = {
  "backup:create": MAKERS,
  "backup:read": EVERY_MEMBER,
  "backup:verify": MAKERS,
  "backup:cancel": MAKERS,
  "backup:delete": DECIDERS,
  "restore:preview": MAKERS,
  "restore:read": EVERY_MEMBER,
  "restore:apply": DECIDERS,
  /** A tenant's runs for its members; for operators the runs that are no tenant's, such as discoveries. */
  "run:read": [...EVERY_MEMBER, "operator"],
  "tenant:manage": ["operator"],
  "source:manage": ["operator"],
  "queue:manage": ["operator"],
} as const satisfies Record<string, readonly Role[]>;

export type Permission = keyof typeof PERMISSIONS;

/** Whether a role is enough. */
export function mayDo(role: Role, permission: Permission): boolean {
  const roles: readonly Role[] = PERMISSIONS[permission];
  return roles.includes(role);
}
