-- Whose turn it is. The queue's jobs are tickets: this function decides which run a ticket is worth (decision 0045).

-- The ring: the tenants of each source that have something queued. A run of a source as a whole stands in the source's own place.
CREATE INDEX runs_waiting ON runs (kind, source_id, coalesce(tenant_id, source_id), available_at, id) WHERE status = 'queued';

-- Takes up to `wanted` due runs, one tenant after the other, beginning behind `after_source`, `after_tenant`. Tenants and
-- sources that have as many running runs of these kinds as they may are passed over, and so are `shut_sources`.
-- Claims of the same kinds wait for each other, so that no two of them fill the same last place.
CREATE FUNCTION claim_fair_runs(
  kinds text[], wanted integer, claiming_worker text, lease_ms integer, early_ms integer,
  per_tenant integer, per_source integer, shut_sources uuid[], after_source uuid, after_tenant uuid
) RETURNS SETOF runs LANGUAGE plpgsql
-- A plan made while the table was small must not sort a hundred thousand waiting runs later.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
AS $$
DECLARE
  nobody CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
  last_of_source CONSTANT uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  full_sources uuid[];
  full_tenants uuid[];
  in_source uuid := coalesce(after_source, nobody);
  in_tenant uuid := coalesce(after_tenant, nobody);
  place record;
  claimed runs;
  taken integer := 0;
  taken_this_round boolean := true;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('rowback:claim:' || array_to_string(kinds, ','), 0));
  SELECT coalesce(array_agg(r.source_id), '{}') INTO full_sources FROM (
    SELECT source_id FROM runs WHERE status = 'running' AND kind = ANY (kinds) GROUP BY source_id HAVING count(*) >= per_source) r;
  SELECT coalesce(array_agg(r.tenant_id), '{}') INTO full_tenants FROM (
    SELECT coalesce(tenant_id, source_id) AS tenant_id FROM runs WHERE status = 'running' AND kind = ANY (kinds)
    GROUP BY 1 HAVING count(*) >= per_tenant) r;
  full_sources := full_sources || shut_sources;

  WHILE taken < wanted LOOP
    -- The next tenant's oldest due run. A part of another run is for that run's worker to take; one left lying is anybody's.
    SELECT w.id, w.source_id, w.tenant_id INTO place FROM unnest(kinds) AS k (kind) CROSS JOIN LATERAL (
      SELECT r.id, r.source_id, coalesce(r.tenant_id, r.source_id) AS tenant_id, r.available_at FROM runs r
      WHERE r.status = 'queued' AND r.kind = k.kind AND (r.source_id, coalesce(r.tenant_id, r.source_id)) > (in_source, in_tenant)
        AND r.available_at <= now() + early_ms * interval '1 millisecond' AND r.attempt < r.max_attempts
        AND (r.parent_run_id IS NULL OR r.available_at < now() - interval '10 seconds')
      ORDER BY r.source_id, coalesce(r.tenant_id, r.source_id), r.available_at, r.id LIMIT 1) w
    ORDER BY w.source_id, w.tenant_id, w.available_at, w.id LIMIT 1;
    IF NOT FOUND THEN
      -- The end of the ring; a whole round that found nothing is the end of the search.
      EXIT WHEN in_source = nobody AND in_tenant = nobody OR NOT taken_this_round;
      in_source := nobody;
      in_tenant := nobody;
      taken_this_round := false;
      CONTINUE;
    END IF;
    in_source := place.source_id;
    IF in_source = ANY (full_sources) THEN
      in_tenant := last_of_source;
      CONTINUE;
    END IF;
    in_tenant := place.tenant_id;
    CONTINUE WHEN in_tenant = ANY (full_tenants);

    UPDATE runs r SET
      status = 'running', attempt = r.attempt + 1, attempt_token = gen_random_uuid(), worker = claiming_worker,
      lease_until = now() + lease_ms * interval '1 millisecond', started_at = coalesce(r.started_at, now()),
      progress = NULL, updated_at = now()
    WHERE r.id = place.id AND r.status = 'queued'
    RETURNING r.* INTO claimed;
    CONTINUE WHEN NOT FOUND;
    RETURN NEXT claimed;
    taken := taken + 1;
    taken_this_round := true;
    IF (SELECT count(*) FROM runs r WHERE r.status = 'running' AND r.kind = ANY (kinds) AND r.source_id = in_source) >= per_source THEN
      full_sources := full_sources || in_source;
    END IF;
    IF (SELECT count(*) FROM runs r WHERE r.status = 'running' AND r.kind = ANY (kinds)
          AND coalesce(r.tenant_id, r.source_id) = in_tenant) >= per_tenant THEN
      full_tenants := full_tenants || in_tenant;
    END IF;
  END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION claim_fair_runs FROM PUBLIC;
GRANT EXECUTE ON FUNCTION claim_fair_runs TO rowback_system;
