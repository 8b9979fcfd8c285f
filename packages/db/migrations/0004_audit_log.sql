-- Who did what, when, from where. Append-only: by privileges for both roles, by triggers for the owner.
-- No foreign keys: an entry outlives what it speaks of. A later issue chains the entries by hash; the id gives the order.

CREATE TABLE audit_log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  tenant_id uuid,
  source_id uuid,
  run_id uuid,
  user_id text NOT NULL CHECK (user_id <> ''),
  action text NOT NULL CHECK (action <> ''),
  ip inet,
  before jsonb,
  after jsonb
);
CREATE INDEX audit_log_newest ON audit_log (tenant_id, id DESC);

CREATE FUNCTION refuse_change_of_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'audit_log is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege', TABLE = 'audit_log';
END
$$;
CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit_log();
