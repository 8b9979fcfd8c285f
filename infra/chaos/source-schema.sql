-- A small SaaS product: two tables with amounts whose sum never changes within a transaction, one with bulk, one reached by a foreign key.
CREATE TABLE tenants (tenant_id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE accounts (
  id integer NOT NULL, tenant_id text NOT NULL REFERENCES tenants, name text NOT NULL, balance bigint NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
CREATE TABLE savings (
  id integer NOT NULL, tenant_id text NOT NULL REFERENCES tenants, balance bigint NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
CREATE TABLE documents (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id text NOT NULL REFERENCES tenants,
  title text NOT NULL, body text NOT NULL, changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX documents_of_tenant ON documents (tenant_id);
CREATE TABLE comments (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), document_id bigint NOT NULL REFERENCES documents ON DELETE CASCADE,
  text text NOT NULL
);
CREATE INDEX comments_of_document ON comments (document_id);
