-- Encryption of what is stored (docs/FORMAT.md, "Encryption"; docs/decisions/0048-encryption.md).

ALTER TABLE sources ADD COLUMN encryption boolean NOT NULL DEFAULT false;
GRANT SELECT (encryption) ON sources TO rowback_tenant;

-- The data keys, each wrapped by a master key that is nowhere in this database. One key an owner, for good: after it was
-- destroyed its row stays, so that nothing is ever sealed for an erased tenant again.
CREATE TABLE tenant_keys (
  id uuid PRIMARY KEY,
  -- Whose: a tenant's, or what of a source can't be told to be one tenant's.
  tenant_id uuid UNIQUE REFERENCES tenants,
  source_id uuid UNIQUE REFERENCES sources ON DELETE CASCADE,
  wrapped bytea CHECK (octet_length(wrapped) = 80),
  -- The master key that wrapped it.
  master_key_id text CHECK (master_key_id ~ '^[0-9a-f]{16}$'),
  created_at timestamptz NOT NULL DEFAULT now(),
  rewrapped_at timestamptz,
  destroyed_at timestamptz,
  CONSTRAINT one_owner CHECK (num_nonnulls(tenant_id, source_id) = 1),
  CONSTRAINT destroyed_means_gone CHECK (
    (destroyed_at IS NULL) = (wrapped IS NOT NULL) AND (destroyed_at IS NULL) = (master_key_id IS NOT NULL)
  )
);
-- What a rotation still has to rewrap.
CREATE INDEX keys_of_master_key ON tenant_keys (master_key_id, id) WHERE destroyed_at IS NULL;

ALTER TABLE tenant_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY system_sees_all ON tenant_keys TO rowback_system USING (true) WITH CHECK (true);
-- No DELETE: a destroyed key's row says that it was destroyed.
GRANT SELECT, INSERT, UPDATE ON tenant_keys TO rowback_system;

-- The data key that sealed the backup; NULL: stored in clear.
ALTER TABLE backup_jobs ADD COLUMN key_id uuid REFERENCES tenant_keys;
