-- The change log of a source: who captures it, what its slots were, where its segments and its gaps are (docs/CHANGE-LOG.md).
-- LSNs are 16 hexadecimal digits in lower case: under the collation "C" their order as text is their order.

CREATE DOMAIN lsn_text AS text COLLATE "C" CHECK (VALUE ~ '^[0-9a-f]{16}$');

CREATE TABLE capture_states (
  source_id uuid PRIMARY KEY REFERENCES sources ON DELETE CASCADE,
  -- `off`: no slot is wanted. `on`: one worker at a time captures, whoever holds the lease.
  status text NOT NULL CHECK (status IN ('on', 'off')),
  slot_name text NOT NULL CHECK (slot_name ~ '^[a-z0-9_]{1,63}$'),
  publication_name text NOT NULL CHECK (publication_name <> ''),
  -- The fence: every statement of the capture names the token, and every new holder makes a new one.
  lease_token uuid,
  lease_until timestamptz,
  worker text,
  -- As last looked at: the server's own write position, how far the slot holds WAL back, and when.
  server_lsn lsn_text,
  slot_lag_bytes bigint,
  observed_at timestamptz,
  -- {code, message, hint}: why the capture does not go on; NULL while it does.
  problem jsonb,
  -- What setting up found: recovery's Finding[].
  findings jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(findings) = 'array'),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT held_means_until CHECK ((lease_token IS NULL) = (lease_until IS NULL) AND (lease_token IS NULL) = (worker IS NULL))
)
-- Renewed every few seconds: leave room for the new versions beside the old one.
WITH (fillfactor = 50);

-- One row per slot that a source had.
CREATE TABLE capture_epochs (
  source_id uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
  epoch integer NOT NULL CHECK (epoch >= 1),
  -- pg_snapshot_xmax(pg_current_snapshot()) just after the slot was made, 64 bits wide.
  start_xid bigint NOT NULL,
  start_lsn lsn_text NOT NULL,
  started_at timestamptz NOT NULL,
  -- Everything committed up to there is in the log, or was nobody's: the freshness.
  covered_lsn lsn_text NOT NULL,
  covered_at timestamptz NOT NULL,
  -- Set when its slot was dropped or lost: nothing will be added.
  ended_at timestamptz,
  PRIMARY KEY (source_id, epoch)
)
WITH (fillfactor = 50);
CREATE UNIQUE INDEX one_epoch_is_current ON capture_epochs (source_id) WHERE ended_at IS NULL;

CREATE TABLE change_segments (
  source_id uuid NOT NULL,
  epoch integer NOT NULL,
  first_lsn lsn_text NOT NULL,
  last_lsn lsn_text NOT NULL,
  piece integer NOT NULL CHECK (piece BETWEEN 0 AND 999999),
  object_key text NOT NULL UNIQUE,
  -- Commit times, to the microsecond.
  first_at timestamptz NOT NULL,
  last_at timestamptz NOT NULL,
  max_xid bigint NOT NULL,
  continued boolean NOT NULL,
  continues boolean NOT NULL,
  transactions bigint NOT NULL,
  changes bigint NOT NULL,
  raw_bytes bigint NOT NULL,
  stored_bytes bigint NOT NULL,
  -- Of the object's index: with the trailer behind it, one ranged read brings both.
  index_bytes bigint NOT NULL,
  -- A hash of source and tenant key for each tenant that has blocks in it: a restore finds its segments without reading everybody's indexes.
  tenant_hashes integer[] NOT NULL,
  has_shared boolean NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (source_id, epoch, last_lsn, first_lsn, piece),
  FOREIGN KEY (source_id, epoch) REFERENCES capture_epochs ON DELETE CASCADE,
  CHECK (first_lsn <= last_lsn)
);
CREATE INDEX segments_of_tenant ON change_segments USING gin (tenant_hashes);
CREATE INDEX segments_with_shared_part ON change_segments (source_id, epoch, last_lsn) WHERE has_shared;

-- Objects that a wider segment took the place of: deleted an hour later, when no restore can be reading them any more.
CREATE TABLE retired_segments (
  object_key text PRIMARY KEY,
  source_id uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
  retired_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX retired_longest_ago ON retired_segments (source_id, retired_at);

-- Ranges of moments to which nobody, or one tenant, or one table, can be restored. A gap begins at begins_* and ends with
-- the next full backup whose snapshot shows cause_xid; without a cause_xid, with one that is usable in a later epoch.
CREATE TABLE change_gaps (
  id uuid PRIMARY KEY,
  source_id uuid NOT NULL,
  epoch integer NOT NULL,
  reason text NOT NULL CHECK (reason IN ('slot_lost', 'capture_off', 'table_rewritten', 'tenant_moved', 'table_not_published')),
  -- NULL: all tenants.
  tenant_key text,
  -- NULL: all tables.
  schema_name text,
  table_name text,
  -- The last moment that is certain.
  begins_lsn lsn_text NOT NULL,
  begins_at timestamptz NOT NULL,
  cause_xid bigint,
  -- Made of what the gap is: a capture that repeats a transaction after a crash finds the same gaps again.
  object_key text NOT NULL UNIQUE,
  created_at timestamptz NOT NULL DEFAULT now(),
  FOREIGN KEY (source_id, epoch) REFERENCES capture_epochs ON DELETE CASCADE,
  CONSTRAINT a_table_has_both_names CHECK ((schema_name IS NULL) = (table_name IS NULL))
);
CREATE INDEX gaps_of_tenant ON change_gaps (source_id, tenant_key);

GRANT SELECT, INSERT, UPDATE, DELETE ON capture_states, capture_epochs, change_segments, retired_segments, change_gaps TO rowback_system;
GRANT SELECT (source_id, status, problem, observed_at) ON capture_states TO rowback_tenant;
GRANT SELECT ON capture_epochs, change_gaps TO rowback_tenant;

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['capture_states', 'capture_epochs', 'change_segments', 'retired_segments', 'change_gaps'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY system_sees_all ON %I TO rowback_system USING (true) WITH CHECK (true)', name);
  END LOOP;
END
$$;
CREATE POLICY tenant_sees_its_source ON capture_states TO rowback_tenant USING (source_id IN (SELECT source_id FROM tenants));
CREATE POLICY tenant_sees_its_source ON capture_epochs TO rowback_tenant USING (source_id IN (SELECT source_id FROM tenants));
-- Another tenant's gap would tell that there is such a tenant.
CREATE POLICY tenant_sees_its_own ON change_gaps TO rowback_tenant
  USING (source_id IN (SELECT source_id FROM tenants) AND (tenant_key IS NULL OR tenant_key IN (SELECT key FROM tenants)));
