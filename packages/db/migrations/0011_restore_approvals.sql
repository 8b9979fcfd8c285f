-- A tenant may ask that a second person agrees to each restore before it happens. Such a restore begins
-- `awaiting_approval`: no state that anything claims, sweeps or enqueues, so nothing has to know that it must not.

ALTER TABLE tenant_settings
  ADD COLUMN restores_need_approval boolean NOT NULL DEFAULT false,
  -- How long a restore waits before nobody can agree to it any more.
  ADD COLUMN restore_approval_hours integer NOT NULL DEFAULT 24 CHECK (restore_approval_hours BETWEEN 1 AND 720);
-- Its own rules a tenant sets itself; quotas and limits are an operator's.
GRANT INSERT (tenant_id, restores_need_approval, restore_approval_hours, updated_at),
  UPDATE (restores_need_approval, restore_approval_hours, updated_at) ON tenant_settings TO rowback_tenant;

ALTER TABLE restore_jobs
  -- Set with the row where approval is needed, and never again.
  ADD COLUMN approval_asked_by text,
  ADD COLUMN approval_expires_at timestamptz,
  ADD COLUMN approval_decision text CHECK (approval_decision IN ('approved', 'rejected', 'expired')),
  ADD COLUMN approval_decided_by text,
  ADD COLUMN approval_decided_at timestamptz,
  ADD COLUMN approval_comment text,
  ADD CONSTRAINT approval_is_asked_for_with_an_end CHECK ((approval_asked_by IS NULL) = (approval_expires_at IS NULL)),
  ADD CONSTRAINT only_what_was_asked_is_decided CHECK (
    (approval_decision IS NULL) = (approval_decided_at IS NULL) AND (approval_decision IS NULL OR approval_asked_by IS NOT NULL)
  ),
  ADD CONSTRAINT a_second_person_decides CHECK (
    (coalesce(approval_decision, 'expired') = 'expired') = (approval_decided_by IS NULL)
    AND (approval_decided_by IS NULL OR approval_decided_by <> approval_asked_by)
  );
GRANT INSERT (approval_asked_by, approval_expires_at) ON restore_jobs TO rowback_tenant;
GRANT UPDATE (approval_decision, approval_decided_by, approval_decided_at, approval_comment) ON restore_jobs TO rowback_tenant;

ALTER TABLE runs DROP CONSTRAINT runs_status_check,
  ADD CONSTRAINT runs_status_check CHECK (status IN ('awaiting_approval', 'queued', 'running', 'succeeded', 'failed', 'cancelled')),
  ADD CONSTRAINT only_restores_await_approval CHECK (status <> 'awaiting_approval' OR kind = 'restore');
DROP INDEX one_restore_at_a_time;
CREATE UNIQUE INDEX one_restore_at_a_time ON runs (tenant_id)
  WHERE kind = 'restore' AND status IN ('awaiting_approval', 'queued', 'running');
CREATE INDEX runs_awaiting_approval ON runs (id) WHERE status = 'awaiting_approval';

-- What allow_only_known_transitions() says of the other states stays with it.
CREATE FUNCTION allow_only_known_transitions_of_approval() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.status = 'awaiting_approval' AND NEW.status IN ('queued', 'cancelled') THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'a run can''t go from % to %', OLD.status, NEW.status
    USING ERRCODE = 'check_violation', CONSTRAINT = 'runs_allow_only_known_transitions', TABLE = 'runs';
END
$$;
DROP TRIGGER runs_allow_only_known_transitions ON runs;
CREATE TRIGGER runs_allow_only_known_transitions BEFORE UPDATE ON runs
  FOR EACH ROW WHEN (OLD.status NOT IN ('awaiting_approval', 'running')) EXECUTE FUNCTION allow_only_known_transitions();
CREATE TRIGGER runs_allow_only_known_transitions_of_approval BEFORE UPDATE ON runs
  FOR EACH ROW WHEN ('awaiting_approval' IN (OLD.status, NEW.status)) EXECUTE FUNCTION allow_only_known_transitions_of_approval();

-- Whatever the code forgets: no restore is queued that a second person has to agree to and did not.
-- STABLE: sees the setting as the statement itself saw it, so the two can't disagree.
CREATE FUNCTION refuse_unapproved_restore() RETURNS trigger LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NOT EXISTS (SELECT FROM tenant_settings s WHERE s.tenant_id = NEW.tenant_id AND s.restores_need_approval) THEN
      RETURN NEW;
    END IF;
  ELSIF EXISTS (SELECT FROM restore_jobs j WHERE j.run_id = NEW.id AND j.approval_decision = 'approved') THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'restore % is not approved', NEW.id
    USING ERRCODE = 'check_violation', CONSTRAINT = 'restores_are_approved', TABLE = 'runs';
END
$$;
CREATE TRIGGER restores_are_approved_first BEFORE INSERT ON runs
  FOR EACH ROW WHEN (NEW.kind = 'restore' AND NEW.status = 'queued') EXECUTE FUNCTION refuse_unapproved_restore();
CREATE TRIGGER restores_are_approved BEFORE UPDATE ON runs
  FOR EACH ROW WHEN (OLD.status = 'awaiting_approval' AND NEW.status = 'queued') EXECUTE FUNCTION refuse_unapproved_restore();

DROP TRIGGER runs_begin_queued ON runs;
CREATE TRIGGER runs_begin_queued BEFORE INSERT ON runs
  FOR EACH ROW WHEN (NEW.status NOT IN ('awaiting_approval', 'queued')) EXECUTE FUNCTION refuse_run_not_queued();

-- A tenant's request says in which of the two states its run begins, cancels it, and agrees to it.
GRANT INSERT (status), UPDATE (available_at) ON runs TO rowback_tenant;
ALTER POLICY tenant_cancels_its_own ON runs
  USING (tenant_id = current_tenant() AND status IN ('awaiting_approval', 'queued', 'running'))
  WITH CHECK (tenant_id = current_tenant() AND cancel_requested_at IS NOT NULL
    AND status IN ('awaiting_approval', 'queued', 'running', 'cancelled'));
CREATE POLICY tenant_approves_its_own ON runs FOR UPDATE TO rowback_tenant
  USING (tenant_id = current_tenant() AND status = 'awaiting_approval')
  WITH CHECK (tenant_id = current_tenant() AND kind = 'restore' AND status = 'queued');
