-- What the capture last saw of the tables, so that its successor notices a rewrite that happened while nobody captured.

-- A reader fetches the end of an object, and finds the index's length there.
ALTER TABLE change_segments DROP COLUMN index_bytes;

ALTER TABLE capture_epochs
  -- Just before the tables were looked at last, without anything behind the log's back since the look before.
  ADD COLUMN seen_lsn lsn_text,
  ADD COLUMN seen_at timestamptz,
  -- Protected tables outside the publication for which a gap is declared.
  ADD COLUMN unpublished jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(unpublished) = 'array'),
  -- Its slot took the place of a lost one: every tenant is to get a new full backup.
  ADD COLUMN rebase_pending boolean NOT NULL DEFAULT false;

CREATE TABLE captured_tables (
  source_id uuid NOT NULL,
  epoch integer NOT NULL,
  oid bigint NOT NULL,
  -- Recovery's PublishedTable.
  seen jsonb NOT NULL,
  PRIMARY KEY (source_id, epoch, oid),
  FOREIGN KEY (source_id, epoch) REFERENCES capture_epochs ON DELETE CASCADE
);
GRANT SELECT, INSERT, UPDATE, DELETE ON captured_tables TO rowback_system;
ALTER TABLE captured_tables ENABLE ROW LEVEL SECURITY;
ALTER TABLE captured_tables FORCE ROW LEVEL SECURITY;
CREATE POLICY system_sees_all ON captured_tables TO rowback_system USING (true) WITH CHECK (true);
