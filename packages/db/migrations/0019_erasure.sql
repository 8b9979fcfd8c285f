-- Erasing a tenant: its data key is destroyed at once, and a run purges what is stored of it.

ALTER TABLE tenants ADD COLUMN erased_at timestamptz;

CREATE TABLE erasures (
  tenant_id uuid PRIMARY KEY REFERENCES tenants,
  run_id uuid NOT NULL,
  -- What was destroyed, when and by whom; never changed afterwards.
  certificate jsonb NOT NULL,
  -- Set when no object of the tenant was left.
  purged_at timestamptz,
  FOREIGN KEY (run_id, tenant_id) REFERENCES runs (id, tenant_id)
);
ALTER TABLE erasures ENABLE ROW LEVEL SECURITY;
ALTER TABLE erasures FORCE ROW LEVEL SECURITY;
CREATE POLICY system_sees_all ON erasures TO rowback_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (purged_at) ON erasures TO rowback_system;

-- A run that has ended never changes, but for this: a purge takes the rows' values out of it (src/tables/erasures.ts).
CREATE OR REPLACE FUNCTION allow_only_known_transitions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.status = 'running' OR (OLD.status = 'queued' AND NEW.status IN ('running', 'cancelled')) THEN
    RETURN NEW;
  END IF;
  IF OLD.status = NEW.status AND current_setting('rowback.erasing', true) = OLD.tenant_id::text THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'a run can''t go from % to %', OLD.status, NEW.status
    USING ERRCODE = 'check_violation', CONSTRAINT = 'runs_allow_only_known_transitions', TABLE = 'runs';
END
$$;
