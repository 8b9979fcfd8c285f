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
  "schedule:manage": DECIDERS,
  "dr:manage": DECIDERS,
  "settings:read": EVERY_MEMBER,
  "settings:manage": DECIDERS,
  /** To make API keys, and to see and revoke one's own. */
  "api-key:create": MAKERS,
  /** To see and revoke those of others too. */
  "api-key:manage": DECIDERS,
  /** A tenant's own log for those who decide; for operators any. */
  "audit:read": [...DECIDERS, "operator"],
  "tenant:manage": ["operator"],
  "source:manage": ["operator"],
  "queue:manage": ["operator"],
  /** What is left to operators alone and has no name of its own: quotas and limits. */
  operator: ["operator"],
} as const satisfies Record<string, readonly Role[]>;

export type Permission = keyof typeof PERMISSIONS;

/**
 * What a person may hand on to an API key. Not the rest: with a key that leaked nobody may make another key, lift a
 * tenant's own rules, or act as an operator.
 */
export const KEY_SCOPES = [
  "backup:create",
  "backup:read",
  "backup:verify",
  "backup:cancel",
  "backup:delete",
  "restore:preview",
  "restore:read",
  "restore:apply",
  "run:read",
  "schedule:manage",
  "dr:manage",
  "settings:read",
] as const satisfies readonly Permission[];

/** Whether a member of a tenant can have the permission, whatever the role. */
export function isForMembers(permission: Permission): boolean {
  return PERMISSIONS[permission].some((role) => role !== "operator");
}

/** Whether a role is enough. */
export function mayDo(role: Role, permission: Permission): boolean {
  const roles: readonly Role[] = PERMISSIONS[permission];
  return roles.includes(role);
}
