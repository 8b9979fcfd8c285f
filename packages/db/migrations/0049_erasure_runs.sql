-- A kind of run more, added to whatever kinds there are: lists restated side by side lose each other's.

DO $$
DECLARE
  kinds text := (SELECT substring(pg_get_constraintdef(oid) FROM 'ARRAY\[(.*)\]') FROM pg_constraint
                 WHERE conname = 'runs_kind_check' AND conrelid = 'runs'::regclass);
BEGIN
  ALTER TABLE runs DROP CONSTRAINT runs_kind_check;
  EXECUTE format('ALTER TABLE runs ADD CONSTRAINT runs_kind_check CHECK (kind IN (%s, ''tenant_erase''))', kinds);
END
$$;
