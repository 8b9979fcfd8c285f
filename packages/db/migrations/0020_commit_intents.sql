-- A restore is two commits: the source's, then the run's success here. A worker that dies between the two leaves a run that
-- looks as if nothing had happened. So a restore writes down the source's transaction, and what it will have done, before
-- the source commits; whoever has the run next asks the source what became of that transaction.
--   {transactionId, timeline, sourceId, result, cancelled}
ALTER TABLE runs ADD COLUMN commit_intent jsonb CHECK (commit_intent IS NULL OR kind = 'restore');

-- Until that is known, no statement of anybody can end the run badly: it goes back to the queue for one more attempt, which
-- asks first. A cancellation is kept in the intent: it counts if nothing was committed.
CREATE FUNCTION keep_unsettled_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.status = 'succeeded' THEN
    NEW.commit_intent := NULL;
    RETURN NEW;
  END IF;
  NEW.commit_intent := NEW.commit_intent || jsonb_build_object('cancelled',
    coalesce((NEW.commit_intent->>'cancelled')::boolean, false) OR NEW.status = 'cancelled' OR NEW.cancel_requested_at IS NOT NULL);
  NEW.status := 'queued';
  NEW.attempt := greatest(OLD.attempt - (OLD.status = 'running')::integer, 0);
  NEW.attempt_token := NULL;
  NEW.lease_until := NULL;
  NEW.cancel_requested_at := NULL;
  NEW.finished_at := NULL;
  RETURN NEW;
END
$$;
-- By its name behind runs_allow_only_known_transitions, which must see what was asked for.
CREATE TRIGGER runs_keep_unsettled BEFORE UPDATE ON runs
  FOR EACH ROW WHEN (NEW.commit_intent IS NOT NULL AND NEW.status IN ('succeeded', 'failed', 'cancelled'))
  EXECUTE FUNCTION keep_unsettled_runs();
