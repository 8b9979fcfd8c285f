import pg from "pg";

/** Tenants 1 … `TENANTS` are of one size, in shared tables; tenant 1 has the accident. */
export const TENANTS = 10;

/** Of a tenant's rows; in the order of their foreign keys. */
const SHARES = { customers: 0.1, orders: 0.3, order_lines: 0.5, events: 0.1 } as const;

/** The tables that hold tenants' rows, parents first, with the condition that selects a tenant's. */
export const TENANT_TABLES = ["app.tenants", "app.customers", "app.orders", "app.order_lines", "app.events"] as const;

/** Creates the schema `app` with `TENANTS` tenants of `rows` rows each: keys, foreign keys, and indexes on tenant and foreign key. */
export async function loadTenants(url: string, rows: number): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const count = (table: keyof typeof SHARES): string => String(Math.round(rows * SHARES[table]) * TENANTS);
    await client.query(SCHEMA);
    await client.query(
      CUSTOMERS.replaceAll(":customers", count("customers"))
        .concat(ORDERS, LINES, EVENTS)
        .replaceAll(":customers", count("customers"))
        .replaceAll(":orders", count("orders"))
        .replaceAll(":lines", count("order_lines"))
        .replaceAll(":events", count("events")),
    );
    await client.query(KEYS);
    await client.query("VACUUM (ANALYZE, FREEZE)");
    await client.query("CHECKPOINT");
  } finally {
    await client.end();
  }
}

/** Changes one row in a thousand of tenant 1, in every table: half are altered, the rest deleted or added. Always the same rows. */
export async function haveAccident(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query("SET session_replication_role = replica");
    for (const statement of ACCIDENT) await client.query(statement);
  } finally {
    await client.end();
  }
}

const SCHEMA = `
CREATE SCHEMA app;
CREATE TABLE app.tenants (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO app.tenants SELECT n, 'Tenant ' || n FROM generate_series(1, ${TENANTS}) AS n;
CREATE TABLE app.customers (id bigint, tenant_id integer NOT NULL, email text NOT NULL, name text, address jsonb, created_at timestamptz NOT NULL);
CREATE TABLE app.orders (id bigint, tenant_id integer NOT NULL, customer_id bigint NOT NULL, status text NOT NULL, total numeric(12, 2) NOT NULL, placed_at timestamptz NOT NULL, note text);
CREATE TABLE app.order_lines (order_id bigint, n integer, tenant_id integer NOT NULL, article text NOT NULL, quantity integer NOT NULL, price numeric(10, 2) NOT NULL, batch uuid);
CREATE TABLE app.events (id uuid, tenant_id integer NOT NULL, kind text NOT NULL, payload jsonb NOT NULL, at timestamptz NOT NULL);
`;
// Rows of all tenants lie mixed, as time leaves them.
const CUSTOMERS = `INSERT INTO app.customers SELECT n, 1 + n % ${TENANTS}, 'user' || n || '@' || left(md5(n::text), 8) || '.example', initcap(left(md5(n::text), 12)),
  jsonb_build_object('street', 'Street ' || n % 500, 'zip', 10000 + n % 89999, 'city', 'City ' || n % 50), '2020-01-01 00:00Z'::timestamptz + n * interval '7 seconds'
  FROM generate_series(1, :customers) AS n;`;
const ORDERS = `INSERT INTO app.orders SELECT n, 1 + n % ${TENANTS}, 1 + (n - 1) % :customers, (ARRAY['open', 'paid', 'shipped', 'void'])[1 + n % 4], (n % 99999) / 100.0,
  '2021-01-01 00:00Z'::timestamptz + n * interval '3 seconds', CASE WHEN n % 3 = 0 THEN 'please deliver to the back door ' || n END FROM generate_series(1, :orders) AS n;`;
const LINES = `INSERT INTO app.order_lines SELECT 1 + (n - 1) % :orders, 1 + (n - 1) / :orders, 1 + (1 + (n - 1) % :orders) % ${TENANTS}, 'article ' || md5(n::text), 1 + n % 9, (n % 9999) / 100.0,
  md5(n::text)::uuid FROM generate_series(1, :lines) AS n;`;
const EVENTS = `INSERT INTO app.events SELECT md5(n::text)::uuid, 1 + n % ${TENANTS}, (ARRAY['view', 'click', 'login', 'export'])[1 + n % 4],
  jsonb_build_object('path', '/app/' || n % 1000, 'ms', n % 3000, 'trace', md5((n * 7)::text)), '2022-01-01 00:00Z'::timestamptz + n * interval '1 second' FROM generate_series(1, :events) AS n;`;

const KEYS = `
ALTER TABLE app.customers ADD PRIMARY KEY (id), ADD FOREIGN KEY (tenant_id) REFERENCES app.tenants;
ALTER TABLE app.orders ADD PRIMARY KEY (id), ADD FOREIGN KEY (tenant_id) REFERENCES app.tenants, ADD FOREIGN KEY (customer_id) REFERENCES app.customers;
ALTER TABLE app.order_lines ADD PRIMARY KEY (order_id, n), ADD FOREIGN KEY (tenant_id) REFERENCES app.tenants, ADD FOREIGN KEY (order_id) REFERENCES app.orders;
ALTER TABLE app.events ADD PRIMARY KEY (id), ADD FOREIGN KEY (tenant_id) REFERENCES app.tenants;
CREATE INDEX ON app.customers (tenant_id); CREATE INDEX ON app.orders (tenant_id); CREATE INDEX ON app.orders (customer_id);
CREATE INDEX ON app.order_lines (tenant_id); CREATE INDEX ON app.events (tenant_id);`;

const mine = (every: number, rest: number): string => `tenant_id = 1 AND id % ${every * TENANTS} = ${rest * TENANTS}`;
const ACCIDENT = [
  `UPDATE app.customers SET name = 'oops' WHERE ${mine(1000, 1)}`,
  `UPDATE app.orders SET status = 'void', note = NULL WHERE ${mine(2000, 1)}`,
  `DELETE FROM app.order_lines USING app.orders WHERE order_id = id AND app.orders.tenant_id = 1 AND id % ${4000 * TENANTS} = ${2 * TENANTS}`,
  `DELETE FROM app.orders WHERE tenant_id = 1 AND id % ${4000 * TENANTS} = ${2 * TENANTS}`,
  `UPDATE app.order_lines SET quantity = 0 WHERE tenant_id = 1 AND order_id % ${1500 * TENANTS} = ${3 * TENANTS}`,
  `INSERT INTO app.order_lines SELECT order_id, n + 1000, tenant_id, 'new', 1, 1, NULL FROM app.order_lines WHERE tenant_id = 1 AND order_id % ${6000 * TENANTS} = ${5 * TENANTS}`,
  `DELETE FROM app.events WHERE tenant_id = 1 AND ('x' || left(id::text, 8))::bit(32)::bigint % 1000 = 7`,
];
