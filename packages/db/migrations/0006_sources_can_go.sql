-- A source that no tenant uses can be forgotten, and its discoveries with it. Tenants and restores keep theirs: their
-- references have no cascade, and a source's run that has a tenant has a tenant that refers to the source.

GRANT DELETE ON sources TO rowback_system;

ALTER TABLE protected_tables DROP CONSTRAINT protected_tables_source_id_fkey,
  ADD CONSTRAINT protected_tables_source_id_fkey FOREIGN KEY (source_id) REFERENCES sources ON DELETE CASCADE;
ALTER TABLE runs DROP CONSTRAINT runs_source_id_fkey,
  ADD CONSTRAINT runs_source_id_fkey FOREIGN KEY (source_id) REFERENCES sources ON DELETE CASCADE;
