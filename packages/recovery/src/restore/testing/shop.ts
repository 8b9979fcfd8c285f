/** Two tenants of one shop, in every relation a restore has to keep: tenants `1` and `2`, twenty customers each. */
export const SHOP = `
CREATE SCHEMA shop;
CREATE TABLE shop.currencies (code text PRIMARY KEY);
INSERT INTO shop.currencies VALUES ('EUR'), ('USD');
CREATE TABLE shop.tenants (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE shop.customers (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id integer NOT NULL REFERENCES shop.tenants,
  email text NOT NULL UNIQUE,
  name text,
  referred_by integer REFERENCES shop.customers,
  search text GENERATED ALWAYS AS (lower(email)) STORED
);
CREATE TABLE shop.orders (
  id serial PRIMARY KEY,
  tenant_id integer NOT NULL REFERENCES shop.tenants,
  customer_id integer NOT NULL REFERENCES shop.customers ON DELETE CASCADE,
  currency text NOT NULL REFERENCES shop.currencies,
  total numeric(10, 2) NOT NULL
);
CREATE TABLE shop.lines (
  order_id integer NOT NULL REFERENCES shop.orders ON DELETE RESTRICT,
  n integer NOT NULL,
  article text NOT NULL,
  PRIMARY KEY (order_id, n)
);
CREATE TABLE shop.log (tenant_id integer NOT NULL REFERENCES shop.tenants, message text, at timestamptz DEFAULT now());
INSERT INTO shop.tenants VALUES (1, 'One'), (2, 'Two');
INSERT INTO shop.customers (tenant_id, email, name) SELECT 1 + n % 2, 'c' || n || '@x', 'Name ' || n FROM generate_series(1, 40) n;
UPDATE shop.customers SET referred_by = id - 2 WHERE id > 2;
INSERT INTO shop.orders (tenant_id, customer_id, currency, total) SELECT tenant_id, id, 'EUR', id * 1.5 FROM shop.customers;
INSERT INTO shop.lines SELECT id, n, 'article ' || n FROM shop.orders, generate_series(1, 3) n;
INSERT INTO shop.log SELECT tenant_id, 'said ' || id % 5, '2024-01-01 00:00:00+00' FROM shop.customers;
INSERT INTO shop.log SELECT tenant_id, 'said ' || id % 5, '2024-01-01 00:00:00+00' FROM shop.customers WHERE id < 20;
`;

/** Tenant 1 loses and alters rows in every table; tenant 2 goes on working. */
export const ACCIDENT = [
  "DELETE FROM shop.lines WHERE order_id IN (SELECT id FROM shop.orders WHERE tenant_id = 1 AND id > 20)",
  "DELETE FROM shop.orders WHERE tenant_id = 1 AND id > 20",
  "UPDATE shop.customers SET referred_by = NULL WHERE tenant_id = 1",
  "DELETE FROM shop.customers WHERE tenant_id = 1 AND id > 30",
  "UPDATE shop.customers SET name = NULL, email = 'changed' || id WHERE tenant_id = 1 AND id < 10",
  "INSERT INTO shop.customers (tenant_id, email, name) VALUES (1, 'c32@x', 'took an old address')",
  "UPDATE shop.lines SET article = '' WHERE order_id = 2 AND n = 1",
  "DELETE FROM shop.log WHERE ctid IN (SELECT ctid FROM shop.log WHERE tenant_id = 1 LIMIT 7)",
  "INSERT INTO shop.log (tenant_id, message, at) VALUES (1, NULL, NULL), (1, 'said 1', '2024-01-01 00:00:00+00')",
] as const;
