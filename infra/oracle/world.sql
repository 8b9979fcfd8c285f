-- The oracle's database: small, but with every way in which a row can belong to a tenant and be told apart.
CREATE TABLE accounts (id integer PRIMARY KEY, name text NOT NULL, changed integer NOT NULL DEFAULT 0);

-- direct, default identity: deletes and moves carry only the key, which does not name the tenant
CREATE TABLE projects (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id integer NOT NULL REFERENCES accounts,
  name text NOT NULL,
  budget numeric
);

-- via, by a cascade; default identity without the foreign key in it
CREATE TABLE notes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project_id bigint NOT NULL REFERENCES projects ON DELETE CASCADE,
  body text NOT NULL,
  reply_to bigint REFERENCES notes ON DELETE SET NULL
);
CREATE INDEX ON notes (project_id);

-- via, two steps, composite key
CREATE TABLE note_tags (
  note_id bigint NOT NULL REFERENCES notes ON DELETE CASCADE,
  tag text NOT NULL,
  weight real,
  PRIMARY KEY (note_id, tag)
);

-- direct, complete old rows, values that are stored out of line, and every family of types
CREATE TABLE items (
  id integer NOT NULL,
  account_id integer NOT NULL REFERENCES accounts,
  title text,
  big text,
  n numeric,
  f double precision,
  at timestamptz,
  span interval,
  doc jsonb,
  list text[],
  raw bytea,
  period tstzrange,
  bits bit varying,
  net inet,
  PRIMARY KEY (id)
);
ALTER TABLE items REPLICA IDENTITY FULL;
ALTER TABLE items ALTER COLUMN big SET STORAGE EXTERNAL;

-- out-of-line values with the default identity: an update that leaves them alone does not carry them
CREATE TABLE documents (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id integer NOT NULL REFERENCES accounts,
  title text NOT NULL,
  body text
);
ALTER TABLE documents ALTER COLUMN body SET STORAGE EXTERNAL;

-- the tenant in the key, and keys that change
CREATE TABLE labels (
  account_id integer NOT NULL REFERENCES accounts,
  name text NOT NULL,
  colour text,
  PRIMARY KEY (account_id, name)
);

-- no key at all, duplicates included
CREATE TABLE clicks (account_id integer NOT NULL REFERENCES accounts, path text NOT NULL, n integer);
ALTER TABLE clicks REPLICA IDENTITY FULL;

-- partitioned, rows that wander between partitions
CREATE TABLE events (
  account_id integer NOT NULL REFERENCES accounts,
  day date NOT NULL,
  id bigint NOT NULL,
  payload jsonb,
  PRIMARY KEY (account_id, day, id)
) PARTITION BY RANGE (day);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);

-- truncated now and then
CREATE TABLE drafts (id integer PRIMARY KEY, account_id integer NOT NULL REFERENCES accounts, text text);
ALTER TABLE drafts REPLICA IDENTITY FULL;

-- its columns come, go, and are renamed
CREATE TABLE flex (id integer PRIMARY KEY, account_id integer NOT NULL REFERENCES accounts, a text, b integer);
ALTER TABLE flex REPLICA IDENTITY FULL;
