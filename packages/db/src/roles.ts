import pg from "pg";

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
    await againWhenRaced(() => createRole(client, role));
    await againWhenRaced(() => letMeBecome(client, role));
  }
}

async function createRole(client: pg.Client, role: string): Promise<void> {
  const { rows } = await client.query("SELECT rolsuper OR rolbypassrls AS unbound FROM pg_roles WHERE rolname = $1", [
    role,
  ]);
  if (rows.length === 0) {
    await client.query(`CREATE ROLE ${pg.escapeIdentifier(role)} NOLOGIN NOBYPASSRLS`);
    return;
  }
  if (rows[0].unbound)
    throw new Error(`role ${role} exists and bypasses row-level security; ALTER ROLE ${role} NOSUPERUSER NOBYPASSRLS`);
}

async function letMeBecome(client: pg.Client, role: string): Promise<void> {
  const { rows } = await client.query(
    "SELECT current_setting('server_version_num')::int AS version, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser",
  );
  const { version, superuser } = rows[0];
  // Since 16 the creator of a role may administer it but not become it (createrole_self_grant is empty by default).
  // INHERIT FALSE: the user's own statements must not silently carry the roles' rights.
  const separate = version >= 160_000;
  const may = await client.query(`SELECT pg_has_role(current_user, $1, '${separate ? "SET" : "MEMBER"}') AS may`, [
    role,
  ]);
  if (superuser || may.rows[0].may) return;
  try {
    await client.query(
      `GRANT ${pg.escapeIdentifier(role)} TO CURRENT_USER${separate ? " WITH SET TRUE, INHERIT FALSE" : ""}`,
    );
  } catch (cause) {
    if (sqlState(cause) !== "42501") throw cause;
    throw new Error(
      `this user may not become ${role}; ask an administrator of the cluster for: GRANT ${role} TO <this user>${separate ? " WITH SET TRUE, INHERIT FALSE" : ""}`,
      { cause },
    );
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
