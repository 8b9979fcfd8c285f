-- What each role may do, and to which rows.
-- rowback_tenant: the API on behalf of one tenant's user. rowback_system: workers, sweeper, and operators' requests.

GRANT USAGE ON SCHEMA public TO rowback_tenant, rowback_system;

GRANT SELECT, INSERT, UPDATE ON sources, tenants, tenant_settings, runs, backup_jobs, restore_jobs TO rowback_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON user_tenants, operators, protected_tables TO rowback_system;
GRANT SELECT, INSERT ON audit_log TO rowback_system;

-- The columns that name or hold a source's connection are nobody's business but the system's.
GRANT SELECT (id, name, tenancy, rules, created_at, updated_at, discovered_at) ON sources TO rowback_tenant;
GRANT SELECT ON tenants, user_tenants, tenant_settings, protected_tables, runs, backup_jobs, restore_jobs, audit_log TO rowback_tenant;
GRANT INSERT (id, kind, tenant_id, source_id, max_attempts, params, parent_run_id, requested_by, idempotency_key, request_digest, available_at)
  ON runs TO rowback_tenant;
GRANT UPDATE (status, cancel_requested_at, finished_at, updated_at) ON runs TO rowback_tenant;
GRANT INSERT (run_id, tenant_id, source_id, type, purpose, parent_backup_id, base_backup_id, tables) ON backup_jobs TO rowback_tenant;
GRANT UPDATE (deleted_at) ON backup_jobs TO rowback_tenant;
GRANT INSERT (run_id, tenant_id, source_id, target_source_id, backup_id, preview_run_id, mode, tables, keys, plan_digest, undo_of)
  ON restore_jobs TO rowback_tenant;
GRANT INSERT (tenant_id, source_id, run_id, user_id, action, ip, before, after) ON audit_log TO rowback_tenant;

-- Raises where no tenant is set: a forgotten one must not look like an empty list.
CREATE FUNCTION current_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
  RETURN current_setting('rowback.tenant_id')::uuid;

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['sources', 'tenants', 'user_tenants', 'operators', 'tenant_settings', 'protected_tables',
                              'runs', 'backup_jobs', 'restore_jobs', 'audit_log'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY system_sees_all ON %I TO rowback_system USING (true) WITH CHECK (true)', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['user_tenants', 'tenant_settings', 'backup_jobs', 'restore_jobs', 'audit_log'] LOOP
    EXECUTE format('CREATE POLICY tenant_sees_its_own ON %I TO rowback_tenant
                      USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())', name);
  END LOOP;
END
$$;

CREATE POLICY tenant_sees_itself ON tenants TO rowback_tenant USING (id = current_tenant());
CREATE POLICY tenant_sees_its_source ON sources TO rowback_tenant USING (id IN (SELECT source_id FROM tenants));
CREATE POLICY tenant_sees_its_source ON protected_tables TO rowback_tenant USING (source_id IN (SELECT source_id FROM tenants));

CREATE POLICY tenant_sees_its_own ON runs FOR SELECT TO rowback_tenant USING (tenant_id = current_tenant());
CREATE POLICY tenant_asks_for_its_own ON runs FOR INSERT TO rowback_tenant WITH CHECK (tenant_id = current_tenant());
-- All a tenant may do to a run is to cancel it.
CREATE POLICY tenant_cancels_its_own ON runs FOR UPDATE TO rowback_tenant
  USING (tenant_id = current_tenant() AND status IN ('queued', 'running'))
  WITH CHECK (tenant_id = current_tenant() AND cancel_requested_at IS NOT NULL AND status IN ('queued', 'running', 'cancelled'));
