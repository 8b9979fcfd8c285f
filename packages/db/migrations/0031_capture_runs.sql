-- Setting a source's capture up and tearing it down are runs of the source; a lost slot is healed by backups of purpose `rebase`.

ALTER TABLE runs DROP CONSTRAINT runs_kind_check,
  ADD CONSTRAINT runs_kind_check CHECK (kind IN ('discovery', 'backup', 'backup_verify', 'restore_preview', 'restore', 'capture_setup', 'capture_teardown')),
  DROP CONSTRAINT only_sources_run_without_tenant,
  ADD CONSTRAINT only_sources_run_without_tenant CHECK ((kind IN ('discovery', 'capture_setup', 'capture_teardown')) = (tenant_id IS NULL));

ALTER TABLE backup_jobs DROP CONSTRAINT backup_jobs_purpose_check,
  ADD CONSTRAINT backup_jobs_purpose_check CHECK (purpose IN ('manual', 'pre_restore', 'rebase'));
