-- Keys by which a program acts for one tenant, as the member who made the key and with no more than he may do himself.
-- The key is `rbk_<prefix>_<secret>`; only a hash of the secret is kept. 256 random bits need no slow hash: there is
-- nothing to guess, and every request pays for it.

CREATE TABLE api_keys (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES tenants,
  name text NOT NULL CHECK (name <> ''),
  -- Finds the row; no secret, and shown in lists, so that a key that turns up somewhere can be told.
  prefix text NOT NULL UNIQUE CHECK (prefix ~ '^[0-9a-f]{16}$'),
  secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
  -- Permissions (apps/api/src/auth/permissions.ts). At each request they are cut down to the maker's present role.
  scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
  created_by text NOT NULL CHECK (created_by <> ''),
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  revoked_by text,
  -- Written every ten minutes at most, not at each request.
  last_used_at timestamptz,
  CONSTRAINT revoked_by_somebody CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE INDEX api_keys_newest ON api_keys (tenant_id, created_at DESC, id DESC);
CREATE INDEX api_keys_of_member ON api_keys (tenant_id, created_by) WHERE revoked_at IS NULL;

ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY system_sees_all ON api_keys TO rowback_system USING (true) WITH CHECK (true);
CREATE POLICY tenant_sees_its_own ON api_keys TO rowback_tenant
  USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());

-- Who asks is not known before the key is: the system looks it up, notes its use, and ends the keys of who left.
GRANT SELECT, UPDATE (last_used_at, revoked_at, revoked_by) ON api_keys TO rowback_system;
-- A tenant's requests never see the hash, and can't change what a key may do or how long it lives.
GRANT SELECT (id, tenant_id, name, prefix, scopes, created_by, created_at, expires_at, revoked_at, revoked_by, last_used_at)
  ON api_keys TO rowback_tenant;
GRANT INSERT (id, tenant_id, name, prefix, secret_sha256, scopes, created_by, expires_at) ON api_keys TO rowback_tenant;
GRANT UPDATE (revoked_at, revoked_by) ON api_keys TO rowback_tenant;
