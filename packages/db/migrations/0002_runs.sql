-- Every execution asked for. The queue only carries ids; this table decides.

CREATE TABLE runs (
  id uuid PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('discovery', 'backup', 'backup_verify', 'restore_preview', 'restore')),
  -- NULL: a run of the source as a whole, such as a discovery.
  tenant_id uuid,
  source_id uuid NOT NULL REFERENCES sources,
  status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
  attempt integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL CHECK (max_attempts >= 1),
  -- The fence: whoever writes an outcome must know it, and every claim makes a new one.
  attempt_token uuid,
  worker text,
  lease_until timestamptz,
  cancel_requested_at timestamptz,
  progress jsonb,
  params jsonb NOT NULL DEFAULT '{}',
  result jsonb,
  -- {code, message, hint, retryable, table}: of a failed run, or of the last attempt while another is to come.
  error jsonb,
  parent_run_id uuid,
  requested_by text NOT NULL CHECK (requested_by <> ''),
  idempotency_key text,
  request_digest text,
  created_at timestamptz NOT NULL DEFAULT now(),
  available_at timestamptz NOT NULL DEFAULT now(),
  started_at timestamptz,
  finished_at timestamptz,
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (id, tenant_id),
  FOREIGN KEY (tenant_id, source_id) REFERENCES tenants (id, source_id),
  FOREIGN KEY (parent_run_id, tenant_id) REFERENCES runs (id, tenant_id),
  CONSTRAINT only_sources_run_without_tenant CHECK ((kind = 'discovery') = (tenant_id IS NULL)),
  CONSTRAINT attempts_are_bounded CHECK (attempt BETWEEN 0 AND max_attempts),
  CONSTRAINT running_means_held CHECK (
    (status = 'running') = (attempt_token IS NOT NULL) AND (status = 'running') = (lease_until IS NOT NULL)
    AND (status <> 'running' OR worker IS NOT NULL)
  ),
  CONSTRAINT ended_means_finished CHECK ((status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
  CONSTRAINT failed_says_why CHECK (status <> 'failed' OR error IS NOT NULL),
  CONSTRAINT idempotency_key_has_a_digest CHECK ((idempotency_key IS NULL) = (request_digest IS NULL))
)
-- A run is updated a handful of times: leave room for the new versions beside the old one.
WITH (fillfactor = 70);

CREATE INDEX runs_by_status ON runs (tenant_id, status, created_at DESC);
CREATE INDEX runs_newest ON runs (tenant_id, kind, created_at DESC, id DESC);
-- What the sweeper looks at. lease_until stays out of every index, so that renewing a lease touches none (a HOT update).
CREATE INDEX runs_live ON runs (status, available_at, id) WHERE status IN ('queued', 'running');
CREATE INDEX runs_newest_of_source ON runs (source_id, created_at DESC, id DESC) WHERE tenant_id IS NULL;
CREATE INDEX runs_of_parent ON runs (parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE UNIQUE INDEX one_restore_at_a_time ON runs (tenant_id) WHERE kind = 'restore' AND status IN ('queued', 'running');
CREATE UNIQUE INDEX one_run_per_tenant_request ON runs (tenant_id, requested_by, idempotency_key)
  WHERE idempotency_key IS NOT NULL AND tenant_id IS NOT NULL;
CREATE UNIQUE INDEX one_run_per_source_request ON runs (source_id, requested_by, idempotency_key)
  WHERE idempotency_key IS NOT NULL AND tenant_id IS NULL;

-- The pairs of src/run-states.ts (RUN_TRANSITIONS); a test compares them all.
CREATE FUNCTION allow_only_known_transitions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.status = 'running' OR (OLD.status = 'queued' AND NEW.status IN ('running', 'cancelled')) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'a run can''t go from % to %', OLD.status, NEW.status
    USING ERRCODE = 'check_violation', CONSTRAINT = 'runs_allow_only_known_transitions', TABLE = 'runs';
END
$$;
CREATE TRIGGER runs_allow_only_known_transitions BEFORE UPDATE ON runs
  FOR EACH ROW WHEN (OLD.status <> 'running') EXECUTE FUNCTION allow_only_known_transitions();

CREATE FUNCTION refuse_run_not_queued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a run begins queued, not %', NEW.status
    USING ERRCODE = 'check_violation', CONSTRAINT = 'runs_begin_queued', TABLE = 'runs';
END
$$;
CREATE TRIGGER runs_begin_queued BEFORE INSERT ON runs
  FOR EACH ROW WHEN (NEW.status <> 'queued') EXECUTE FUNCTION refuse_run_not_queued();
