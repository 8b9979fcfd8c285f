-- Restores to a moment: what a backup has to say of its snapshot to be a base, what a restore aims at, and named points in the WAL.

ALTER TABLE backup_jobs
  -- pg_current_snapshot() of the backup's one snapshot; NULL for backups that were made before there was a change log.
  ADD COLUMN snapshot text CHECK (snapshot ~ '^\d+:\d+:(\d+(,\d+)*)?$'),
  -- A WAL position that was read after the snapshot: everything that it shows was committed before.
  ADD COLUMN snapshot_end_lsn lsn_text,
  -- `log`: a full backup that was folded from an earlier one and the change log, without asking the source for its rows.
  ADD COLUMN made_from text NOT NULL DEFAULT 'source' CHECK (made_from IN ('source', 'log'));
CREATE INDEX backups_to_stand_on ON backup_jobs (tenant_id, snapshot_at) WHERE snapshot IS NOT NULL AND deleted_at IS NULL;

-- {asked, limit}: what was asked for, and up to which transaction that reaches. NULL: the backup itself.
ALTER TABLE restore_jobs ADD COLUMN moment jsonb;

CREATE TABLE restore_points (
  run_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  source_id uuid NOT NULL,
  name text NOT NULL CHECK (name <> ''),
  -- Set with the run's success: a position inside the message that was written into the WAL, so that no commit has it.
  lsn lsn_text,
  at timestamptz,
  CHECK ((lsn IS NULL) = (at IS NULL)),
  FOREIGN KEY (run_id, tenant_id) REFERENCES runs (id, tenant_id)
);
CREATE INDEX restore_points_by_name ON restore_points (tenant_id, name);

ALTER TABLE restore_points ENABLE ROW LEVEL SECURITY;
ALTER TABLE restore_points FORCE ROW LEVEL SECURITY;
CREATE POLICY system_sees_all ON restore_points TO rowback_system USING (true) WITH CHECK (true);
CREATE POLICY tenant_sees_its_own ON restore_points TO rowback_tenant
  USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, INSERT, UPDATE ON restore_points TO rowback_system;
GRANT SELECT, INSERT (run_id, tenant_id, source_id, name) ON restore_points TO rowback_tenant;
GRANT INSERT (made_from) ON backup_jobs TO rowback_tenant;
GRANT INSERT (moment) ON restore_jobs TO rowback_tenant;
