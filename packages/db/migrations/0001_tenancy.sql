-- Who is who: sources, their tenants, the people, the settings.
-- The roles rowback_tenant and rowback_system exist already (src/roles.ts): roles belong to the cluster, not to this database.
-- A later migration that changes rows must SET LOCAL ROLE rowback_system first: row-level security is forced on the owner too.

CREATE TABLE sources (
  id uuid PRIMARY KEY,
  name text NOT NULL UNIQUE CHECK (name <> ''),
  -- Either the name of a setting that holds the connection string (env:NAME), or the string sealed by src/sealed-secret.ts.
  connection_ref text,
  connection_sealed text,
  tenancy jsonb NOT NULL,
  rules jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(rules) = 'array'),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  discovered_at timestamptz,
  CHECK (num_nonnulls(connection_ref, connection_sealed) = 1)
);

CREATE TABLE tenants (
  id uuid PRIMARY KEY,
  source_id uuid NOT NULL REFERENCES sources,
  -- The value that scopes this tenant's rows in the source.
  key text NOT NULL CHECK (key <> ''),
  name text NOT NULL CHECK (name <> ''),
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (source_id, key),
  -- Lets runs refer to a tenant together with its own source, so neither can be another's.
  UNIQUE (id, source_id)
);

CREATE TABLE user_tenants (
  user_id text NOT NULL CHECK (user_id <> ''),
  tenant_id uuid NOT NULL REFERENCES tenants,
  role text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, tenant_id)
);
CREATE INDEX user_tenants_of_tenant ON user_tenants (tenant_id);

CREATE TABLE operators (
  user_id text PRIMARY KEY CHECK (user_id <> ''),
  created_at timestamptz NOT NULL DEFAULT now()
);

-- A tenant without a row has the defaults of these columns; src/tables/tenant-settings.ts reads them from here.
CREATE TABLE tenant_settings (
  tenant_id uuid PRIMARY KEY REFERENCES tenants,
  -- NULL: no quota.
  storage_quota_bytes bigint CHECK (storage_quota_bytes >= 0),
  backups_per_hour integer NOT NULL DEFAULT 10 CHECK (backups_per_hour >= 0),
  deleted_backup_grace_hours integer NOT NULL DEFAULT 168 CHECK (deleted_backup_grace_hours >= 0),
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- What the last discovery of a source found, table by table.
CREATE TABLE protected_tables (
  source_id uuid NOT NULL REFERENCES sources,
  schema_name text NOT NULL,
  table_name text NOT NULL,
  -- How its rows are tied to a tenant; NULL: unprotected, and the reason says why.
  scope jsonb,
  unprotected_reason jsonb,
  details jsonb,
  discovered_at timestamptz NOT NULL,
  PRIMARY KEY (source_id, schema_name, table_name),
  CHECK (num_nonnulls(scope, unprotected_reason) = 1)
);
