-- How often a worker died, or stopped answering, with this run in its hands. A run that kills its workers must stop
-- before it has killed many; an attempt that failed in words says nothing of that.
ALTER TABLE runs ADD COLUMN crashes integer NOT NULL DEFAULT 0 CHECK (crashes >= 0);
