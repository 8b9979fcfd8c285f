-- What each worker has found to be unwell, said again every few seconds: for /readyz of the API and the health report. A worker that
-- died says nothing more, and what it said last ends by itself.
CREATE TABLE worker_breakers (
  worker text PRIMARY KEY CHECK (worker <> ''),
  -- [{dependency, state}] of every dependency that it has asked.
  breakers jsonb NOT NULL,
  expires_at timestamptz NOT NULL
);
ALTER TABLE worker_breakers ENABLE ROW LEVEL SECURITY;
ALTER TABLE worker_breakers FORCE ROW LEVEL SECURITY;
CREATE POLICY system_sees_all ON worker_breakers TO rowback_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON worker_breakers TO rowback_system;
