-- Each tenant's entries form a chain: an entry's hash covers the entry and the hash before it, so none can be altered,
-- removed, inserted or moved later without breaking every hash after it (docs/decisions/0043-audit-chains.md).
-- The entries of no tenant (sources, operators' work) are a chain of their own, under the nil UUID.

ALTER TABLE audit_log ADD COLUMN seq bigint, ADD COLUMN hash bytea;

-- The head of each chain: the one row that two writers of the same tenant meet at, and nobody else.
CREATE TABLE audit_chains (
  chain_id uuid PRIMARY KEY,
  -- Entries so far, which is the seq of the last one: cutting off the end of a chain is found by it.
  length bigint NOT NULL CHECK (length >= 0),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32)
)
-- Updated once an entry, and no index holds what changes: room for new versions beside the old one (HOT updates).
WITH (fillfactor = 50);

ALTER TABLE audit_chains ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_chains FORCE ROW LEVEL SECURITY;
CREATE POLICY system_sees_all ON audit_chains FOR SELECT TO rowback_system USING (true);
-- Row-level security is forced on the owner too, and the owner is who chain_audit_entry() acts as. No role but the owner
-- may write here: a request can append an entry and can't move a head.
CREATE POLICY owner_moves_heads ON audit_chains TO CURRENT_USER USING (true) WITH CHECK (true);
GRANT SELECT ON audit_chains TO rowback_system;

-- What the hash of an entry covers; src/audit-verification.ts builds the same text from the columns by itself, so that a
-- changed function can't vouch for changed entries.
CREATE FUNCTION audit_entry_text(entry audit_log) RETURNS text LANGUAGE sql STABLE SET search_path = '' AS $$
  SELECT pg_catalog.jsonb_build_array(
    'rowback.audit.v1', entry.seq,
    pg_catalog.to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    entry.tenant_id, entry.source_id, entry.run_id, entry.user_id, entry.action, entry.ip::pg_catalog.text,
    entry.before, entry.after)::pg_catalog.text
$$;

CREATE FUNCTION chain_audit_entry() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
  chain uuid := coalesce(NEW.tenant_id, '00000000-0000-0000-0000-000000000000');
  head record;
BEGIN
  SELECT length, hash INTO head FROM public.audit_chains WHERE chain_id = chain FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO public.audit_chains (chain_id, length, hash) VALUES (chain, 0, pg_catalog.decode(pg_catalog.repeat('00', 32), 'hex'))
      ON CONFLICT DO NOTHING;
    SELECT length, hash INTO STRICT head FROM public.audit_chains WHERE chain_id = chain FOR UPDATE;
  END IF;
  -- Told here and not by who inserts, with the head held: within a chain time goes with the order.
  NEW.at := pg_catalog.clock_timestamp();
  NEW.seq := head.length + 1;
  NEW.hash := pg_catalog.sha256(head.hash || pg_catalog.convert_to(public.audit_entry_text(NEW), 'UTF8'));
  UPDATE public.audit_chains SET length = NEW.seq, hash = NEW.hash WHERE chain_id = chain;
  RETURN NEW;
END
$$;

-- The entries from before there were chains: vouched for from here on. Both guards are the owner's own, and back in
-- place when this transaction commits.
ALTER TABLE audit_log DISABLE TRIGGER audit_log_is_append_only;
ALTER TABLE audit_log NO FORCE ROW LEVEL SECURITY;
DO $$
DECLARE
  entry audit_log;
  chain uuid;
  head audit_chains;
BEGIN
  FOR entry IN SELECT * FROM audit_log ORDER BY id LOOP
    chain := coalesce(entry.tenant_id, '00000000-0000-0000-0000-000000000000');
    SELECT * INTO head FROM audit_chains WHERE chain_id = chain;
    IF NOT FOUND THEN
      head := (chain, 0, decode(repeat('00', 32), 'hex'))::audit_chains;
      INSERT INTO audit_chains VALUES (head.*);
    END IF;
    entry.seq := head.length + 1;
    entry.hash := sha256(head.hash || convert_to(audit_entry_text(entry), 'UTF8'));
    UPDATE audit_log SET seq = entry.seq, hash = entry.hash WHERE id = entry.id;
    UPDATE audit_chains SET length = entry.seq, hash = entry.hash WHERE chain_id = chain;
  END LOOP;
END
$$;
ALTER TABLE audit_log ENABLE TRIGGER audit_log_is_append_only;
ALTER TABLE audit_log FORCE ROW LEVEL SECURITY;

ALTER TABLE audit_log ALTER COLUMN seq SET NOT NULL, ALTER COLUMN hash SET NOT NULL, ADD CHECK (octet_length(hash) = 32);
CREATE TRIGGER audit_log_is_chained BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION chain_audit_entry();

-- One for the chain as it is verified, one for the list as it is read; `at` too, so that a span of time is a span of the index.
CREATE UNIQUE INDEX audit_log_in_order ON audit_log ((coalesce(tenant_id, '00000000-0000-0000-0000-000000000000'::uuid)), seq);
DROP INDEX audit_log_newest;
CREATE INDEX audit_log_newest ON audit_log (tenant_id, at DESC, seq DESC);
