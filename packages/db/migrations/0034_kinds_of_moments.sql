-- Writing a restore point, and looking up a row's history, are runs of a tenant. Other parts add kinds too: this list is added to, not replaced.

DO $$
DECLARE
  kinds text := (SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'runs_kind_check' AND conrelid = 'runs'::regclass);
BEGIN
  ALTER TABLE runs DROP CONSTRAINT runs_kind_check;
  EXECUTE format('ALTER TABLE runs ADD CONSTRAINT runs_kind_check %s', replace(kinds, 'ARRAY[', 'ARRAY[''restore_point''::text, ''history''::text, '));
END
$$;
