-- What a backup or restore run is about and what came of it; its state is that of its run.
-- References carry tenant_id along, so that no row can name another tenant's backup.

CREATE TABLE backup_jobs (
  run_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  source_id uuid NOT NULL,
  type text NOT NULL CHECK (type IN ('full', 'incremental')),
  purpose text NOT NULL CHECK (purpose IN ('manual', 'pre_restore')),
  parent_backup_id uuid,
  base_backup_id uuid,
  -- NULL: every protected table.
  tables jsonb CHECK (jsonb_typeof(tables) = 'array'),
  -- What came of it; set with the run's success.
  row_count bigint,
  raw_bytes bigint,
  stored_bytes bigint,
  object_count bigint,
  manifest_sha256 text,
  snapshot_lsn text,
  snapshot_at timestamptz,
  server_version text,
  table_stats jsonb,
  -- Deletion, step by step: hidden; past undeleting; gone from the store.
  deleted_at timestamptz,
  purge_started_at timestamptz,
  purged_at timestamptz,
  UNIQUE (run_id, tenant_id),
  FOREIGN KEY (run_id, tenant_id) REFERENCES runs (id, tenant_id),
  FOREIGN KEY (parent_backup_id, tenant_id) REFERENCES backup_jobs (run_id, tenant_id),
  FOREIGN KEY (base_backup_id, tenant_id) REFERENCES backup_jobs (run_id, tenant_id),
  CONSTRAINT incremental_has_a_parent_and_a_base CHECK (
    (type = 'incremental') = (parent_backup_id IS NOT NULL) AND (type = 'incremental') = (base_backup_id IS NOT NULL)
  ),
  CONSTRAINT deletion_goes_step_by_step CHECK (
    (purge_started_at IS NULL OR deleted_at IS NOT NULL) AND (purged_at IS NULL OR purge_started_at IS NOT NULL)
  )
);
CREATE INDEX backups_of_parent ON backup_jobs (parent_backup_id) WHERE parent_backup_id IS NOT NULL;
CREATE INDEX backups_of_base ON backup_jobs (base_backup_id) WHERE base_backup_id IS NOT NULL;
CREATE INDEX backups_to_purge ON backup_jobs (deleted_at) WHERE deleted_at IS NOT NULL AND purged_at IS NULL;
CREATE INDEX backups_stored ON backup_jobs (tenant_id) INCLUDE (stored_bytes)
  WHERE purged_at IS NULL AND stored_bytes IS NOT NULL;

-- One row per restore and per preview of one.
CREATE TABLE restore_jobs (
  run_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  source_id uuid NOT NULL,
  target_source_id uuid NOT NULL REFERENCES sources,
  backup_id uuid NOT NULL,
  preview_run_id uuid,
  mode text NOT NULL CHECK (mode IN ('exact', 'missing_only')),
  tables jsonb CHECK (jsonb_typeof(tables) = 'array'),
  keys jsonb,
  plan_digest text,
  pre_restore_backup_id uuid,
  undo_of uuid,
  changes jsonb,
  fingerprints_after jsonb,
  FOREIGN KEY (run_id, tenant_id) REFERENCES runs (id, tenant_id),
  FOREIGN KEY (backup_id, tenant_id) REFERENCES backup_jobs (run_id, tenant_id),
  FOREIGN KEY (pre_restore_backup_id, tenant_id) REFERENCES backup_jobs (run_id, tenant_id),
  FOREIGN KEY (preview_run_id, tenant_id) REFERENCES runs (id, tenant_id),
  FOREIGN KEY (undo_of, tenant_id) REFERENCES runs (id, tenant_id)
);
CREATE INDEX restores_of_backup ON restore_jobs (backup_id);
CREATE INDEX restores_of_pre_restore_backup ON restore_jobs (pre_restore_backup_id) WHERE pre_restore_backup_id IS NOT NULL;
CREATE INDEX undos_of_restore ON restore_jobs (undo_of) WHERE undo_of IS NOT NULL;
