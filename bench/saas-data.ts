import pg from "pg";

/** The one tenant whose rows make up nearly all of the data. */
export const BENCH_TENANT = "00000000-0000-4000-8000-000000000001";

/**
 * COPY text of one unit of `loadTenant`, in megabytes (10^6 bytes), counted once: events 41 %, documents 20 %, invoice lines 16 %,
 * messages 12 %, and eight smaller tables.
 */
const MEGABYTES_PER_UNIT = 10.85;

/**
 * Creates the schema `app` of a mixed SaaS product and fills it with about so many megabytes of COPY text for one tenant: jsonb, numeric,
 * uuid, text, timestamps, arrays. Values are drawn at random, so they compress as such data does, not as a series would.
 */
export async function loadTenant(url: string, megabytes: number): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const units = Math.max(1, Math.round(megabytes / MEGABYTES_PER_UNIT));
    await client.query("SELECT setseed(0.42)");
    await client.query(SCHEMA);
    for (const { table, rows, select } of TABLES) {
      await client.query(`INSERT INTO app.${table} ${select.replaceAll(":rows", String(rows * units))}`);
    }
    await client.query(KEYS);
    await client.query("VACUUM (ANALYZE, FREEZE)");
    await client.query("CHECKPOINT");
  } finally {
    await client.end();
  }
}

const SCHEMA = `
CREATE SCHEMA app;
CREATE FUNCTION app.words(n integer) RETURNS text LANGUAGE sql VOLATILE AS $$
  SELECT string_agg((ARRAY['invoice','customer','the','of','urgent','please','review','shipment','delayed','because','contract','renewal',
    'quarterly','figures','attached','thanks','regards','meeting','tomorrow','price','list','update','order','number','warehouse','account',
    'manager','approved','pending','refund','damaged','replacement','address','changed','phone','call','back','soon','total','discount',
    'Ünïcode','naïve','東京','emoji 🦆','tab','and','to','we','you','have','been','will','can','not','with','for','this','that'])
    [1 + floor(random() * 58)], ' ') FROM generate_series(1, n + (random() * 0)::int)
$$;
CREATE TABLE app.tenants (id uuid PRIMARY KEY, name text NOT NULL);
INSERT INTO app.tenants VALUES ('${BENCH_TENANT}', 'Bench Ltd'), ('00000000-0000-4000-8000-000000000002', 'Small Ltd');
CREATE TABLE app.users (id bigint, tenant_id uuid NOT NULL, email text NOT NULL, name text, settings jsonb NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE app.projects (id bigint, tenant_id uuid NOT NULL, owner_id bigint NOT NULL, title text NOT NULL, budget numeric(12, 2), tags text[]);
CREATE TABLE app.customers (id uuid, tenant_id uuid NOT NULL, name text NOT NULL, address jsonb, vat_id text, active boolean NOT NULL);
CREATE TABLE app.products (id bigint, tenant_id uuid NOT NULL, sku text NOT NULL, title text NOT NULL, price numeric(10, 2) NOT NULL, weight real);
CREATE TABLE app.invoices (id bigint, tenant_id uuid NOT NULL, customer_id uuid NOT NULL, issued_on date NOT NULL, total numeric(14, 4) NOT NULL, status text NOT NULL, paid_at timestamptz);
CREATE TABLE app.invoice_lines (id bigint, tenant_id uuid NOT NULL, invoice_id bigint NOT NULL, product_id bigint NOT NULL, quantity numeric(10, 3) NOT NULL, price numeric(10, 2) NOT NULL, note text);
CREATE TABLE app.events (id bigint, tenant_id uuid NOT NULL, session_id uuid NOT NULL, kind text NOT NULL, payload jsonb NOT NULL, at timestamptz NOT NULL);
CREATE TABLE app.sessions (id uuid, tenant_id uuid NOT NULL, user_id bigint NOT NULL, ip inet NOT NULL, agent text NOT NULL, started_at timestamptz NOT NULL);
CREATE TABLE app.documents (id uuid, tenant_id uuid NOT NULL, title text NOT NULL, body text NOT NULL, updated_at timestamptz NOT NULL);
CREATE TABLE app.messages (id bigint, tenant_id uuid NOT NULL, thread_id bigint NOT NULL, author_id bigint NOT NULL, body text NOT NULL, sent_at timestamptz NOT NULL);
CREATE TABLE app.readings (id bigint, tenant_id uuid NOT NULL, device integer NOT NULL, value double precision NOT NULL, at timestamptz NOT NULL)`;

const T = `'${BENCH_TENANT}'::uuid`;
const AT = "timestamptz '2020-01-01' + random() * interval '2000 days'";

/** Rows of one unit. */
const TABLES = [
  {
    table: "users",
    rows: 300,
    select: `SELECT n, ${T}, 'user' || n || '@' || substr(md5(random()::text), 1, 8) || '.example', initcap(substr(md5(n::text), 1, 9)),
      jsonb_build_object('theme', (ARRAY['dark','light'])[1 + (random())::int], 'locale', 'de_DE', 'beta', random() < 0.1), ${AT} FROM generate_series(1, :rows) AS n`,
  },
  {
    table: "projects",
    rows: 100,
    select: `SELECT n, ${T}, (random() * 1000)::bigint, app.words(5 + n % 1), (random() * 100000)::numeric(12, 2), ARRAY['a' || n % 7, 'prio ' || n % 3] FROM generate_series(1, :rows) AS n`,
  },
  {
    table: "customers",
    rows: 1_500,
    select: `SELECT gen_random_uuid(), ${T}, initcap(substr(md5(random()::text), 1, 12)) || ' GmbH',
      jsonb_build_object('street', 'Street ' || (random() * 500)::int, 'zip', (10000 + random() * 89999)::int, 'city', (ARRAY['Köln','Berlin','München','Bonn'])[1 + floor(random() * 4)]),
      'DE' || (random() * 999999999)::int, random() < 0.9 FROM generate_series(1, :rows) AS n`,
  },
  {
    table: "products",
    rows: 200,
    select: `SELECT n, ${T}, upper(substr(md5(n::text), 1, 10)), app.words(4 + n % 1), (random() * 900)::numeric(10, 2), (random() * 20)::real FROM generate_series(1, :rows) AS n`,
  },
  {
    table: "invoices",
    rows: 5_000,
    select: `SELECT n, ${T}, gen_random_uuid(), date '2020-01-01' + (random() * 2000)::int, (random() * 10000)::numeric(14, 4),
      (ARRAY['open','paid','paid','paid','void'])[1 + floor(random() * 5)], CASE WHEN random() < 0.6 THEN ${AT} END FROM generate_series(1, :rows) AS n`,
  },
  {
    table: "invoice_lines",
    rows: 18_000,
    select: `SELECT n, ${T}, (n / 4)::bigint, (random() * 20000)::bigint, (random() * 50)::numeric(10, 3), (random() * 900)::numeric(10, 2),
      CASE WHEN random() < 0.2 THEN app.words(4 + n % 1) END FROM generate_series(1, :rows) AS n`,
  },
  {
    table: "events",
    rows: 16_000,
    select: `SELECT n, ${T}, gen_random_uuid(), (ARRAY['page_view','click','login','export','error'])[1 + floor(random() * 5)],
      jsonb_build_object('path', '/app/' || substr(md5(random()::text), 1, 6), 'ms', (random() * 3000)::int, 'user', (random() * 30000)::int,
        'ok', random() < 0.97, 'meta', jsonb_build_object('browser', (ARRAY['Firefox','Chrome','Safari'])[1 + floor(random() * 3)], 'width', 800 + (random() * 2000)::int, 'trace', md5(random()::text))),
      ${AT} FROM generate_series(1, :rows) AS n`,
  },
  {
    table: "sessions",
    rows: 1_200,
    select: `SELECT gen_random_uuid(), ${T}, (random() * 30000)::bigint, ('10.' || n % 256 || '.' || n % 251 || '.' || n % 241)::inet,
      'Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/' || 100 + n % 30, ${AT} FROM generate_series(1, :rows) AS n`,
  },
  {
    table: "documents",
    rows: 400,
    select: `SELECT gen_random_uuid(), ${T}, app.words(6 + n % 1), app.words(700 + (n * 37) % 200), ${AT} FROM generate_series(1, :rows) AS n`,
  },
  {
    table: "messages",
    rows: 4_500,
    select: `SELECT n, ${T}, (random() * 9000)::bigint, (random() * 30000)::bigint, app.words(20 + n % 40), ${AT} FROM generate_series(1, :rows) AS n`,
  },
  {
    table: "readings",
    rows: 5_000,
    select: `SELECT n, ${T}, (random() * 200)::int, random() * 100, ${AT} FROM generate_series(1, :rows) AS n`,
  },
] as const satisfies readonly { table: string; rows: number; select: string }[];

const KEYS = TABLES.map(
  ({ table }) => `ALTER TABLE app.${table} ADD PRIMARY KEY (id);
ALTER TABLE app.${table} ADD FOREIGN KEY (tenant_id) REFERENCES app.tenants (id);`,
).join("\n");
