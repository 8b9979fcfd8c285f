import pg from "pg";
import { z } from "zod";
import { firstRow } from "./rows.ts";

const ROLES = ["rowback_tenant", "rowback_system"] as const;

// Roles belong to the cluster: another database of it may be migrated at this very moment. Whoever comes second sees one
// of these, and finds the work done when it looks again.
const RACE_LOST = new Set([
  "42710", // duplicate_object
  "23505", // unique_violation in pg_authid or pg_auth_members
  "XX000", // "tuple concurrently updated", which has no code of its own
]);
const ATTEMPTS = 20;

/**
 * Creates the two roles where they are missing and lets the connecting user become either. Each statement commits by
 * itself: inside a migration's transaction a lost race would undo the migration.
 * Works for a superuser and for a plain user with CREATEROLE (managed Postgres); without that right, an administrator
 * must have created and granted them before. Throws with that advice otherwise.
 */
export async function ensureRoles(client: pg.Client): Promise<void> {
  for (const role of ROLES) {
    await againWhenRaced(() => ensureRole(client, role));
    await againWhenRaced(() => ensureMembership(client, role));
  }
}

async function ensureRole(client: pg.Client, role: string): Promise<void> {
  const found = firstRow(
    await client.query("SELECT rolsuper OR rolbypassrls AS unbound FROM pg_roles WHERE rolname = $1", [role]),
    z.object({ unbound: z.boolean() }),
  );
  if (found === null) {
    await client.query(`CREATE ROLE ${pg.escapeIdentifier(role)} NOLOGIN NOBYPASSRLS`);
  } else if (found.unbound) {
    throw new Error(`role ${role} bypasses row-level security: ALTER ROLE ${role} NOSUPERUSER NOBYPASSRLS`);
  }
}

const Standing = z.object({ version: z.int(), superuser: z.boolean(), member: z.boolean() });

async function ensureMembership(client: pg.Client, role: string): Promise<void> {
  // From 16 on, whoever creates a role may administer it but not become it (createrole_self_grant is empty by default).
  const standing = firstRow(
    await client.query(
      `SELECT v.version, u.rolsuper AS superuser,
  pg_has_role(current_user, $1, CASE WHEN v.version >= 160000 THEN 'SET' ELSE 'MEMBER' END) AS member
FROM (SELECT current_setting('server_version_num')::int AS version) v, pg_roles u WHERE u.rolname = current_user`,
      [role],
    ),
    Standing,
  );
  if (standing === null || standing.superuser || standing.member) return;
  // INHERIT FALSE: the user's own statements must not silently carry the roles' rights.
  const grant = `GRANT ${pg.escapeIdentifier(role)} TO CURRENT_USER${standing.version >= 160_000 ? " WITH SET TRUE, INHERIT FALSE" : ""}`;
  try {
    await client.query(grant);
  } catch (cause) {
    if (sqlState(cause) !== "42501") throw cause;
    const advice = grant.replace("CURRENT_USER", "<the user of DATABASE_URL>");
    throw new Error(`this user may not become ${role}; ask an administrator of the cluster for: ${advice}`, { cause });
  }
}

async function againWhenRaced(step: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await step();
    } catch (error) {
      if (attempt === ATTEMPTS || !RACE_LOST.has(sqlState(error) ?? "")) throw error;
    }
  }
}

function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}
