-- Every column type and shape of table that a backup must bring back exactly. PostgreSQL 13 and later.
-- Tenants: 'a' = 00000000-0000-4000-8000-00000000000a, 'b' = …b, 'c' = …c (c has a row in hard.tenants and nothing else).
-- Scopes: root hard.tenants; direct hard.types, hard."Mixed Case.Näme", hard.no_key, hard.events (partitioned), hard.nodes
-- (self-reference), hard.cycle_a, hard.cycle_b (cycle); via hard.notes → hard.nodes, hard.note_tags (composite keys) → hard.notes.
-- Shared: hard.countries.
CREATE SCHEMA hard;
CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public;
CREATE EXTENSION IF NOT EXISTS citext SCHEMA public;

CREATE TYPE hard.mood AS ENUM ('sad', 'o''k', 'Happy 🙂', 'with,comma', 'with"quote');
CREATE DOMAIN hard.email AS text CHECK (VALUE LIKE '%@%');
CREATE DOMAIN hard.code AS varchar(8) NOT NULL DEFAULT 'none';
CREATE TYPE hard.pair AS (n integer, "Te xt" text, inner_mood hard.mood);
CREATE TYPE hard.nested AS (p hard.pair, list hard.pair[]);
CREATE DOMAIN hard.positive_pair AS hard.pair CHECK ((VALUE).n > 0);
CREATE TYPE hard.float_range AS RANGE (subtype = float8);

CREATE TABLE hard.countries (code char(2) PRIMARY KEY, name text NOT NULL);
INSERT INTO hard.countries VALUES ('DE', 'Germany'), ('FR', 'France');

CREATE TABLE hard.tenants (
  id uuid PRIMARY KEY,
  name public.citext NOT NULL UNIQUE,
  country char(2) REFERENCES hard.countries,
  created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO hard.tenants (id, name, country, created_at) VALUES
  ('00000000-0000-4000-8000-00000000000a', 'Acme', 'DE', '2024-02-29 12:34:56.789012+00'),
  ('00000000-0000-4000-8000-00000000000b', 'Byte\Co "quoted" ''x''', NULL, '2020-01-01 00:00:00+00'),
  ('00000000-0000-4000-8000-00000000000c', 'Empty', 'FR', '2020-01-01 00:00:00+00');

CREATE TABLE hard.types (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES hard.tenants ON DELETE CASCADE,
  gone_1 text,
  c_smallint smallint, c_integer integer, c_bigint bigint,
  c_numeric numeric, c_numeric_10_2 numeric(10, 2), c_real real, c_double double precision, c_money money,
  c_boolean boolean, c_char "char", c_char_5 char(5), c_varchar varchar(20), c_text text, c_name name, c_citext public.citext,
  c_bytea bytea, c_bit_8 bit(8), c_varbit bit varying,
  gone_2 integer DEFAULT 7,
  c_date date, c_time time, c_timetz timetz, c_timestamp timestamp, c_timestamptz timestamptz, c_timestamptz_0 timestamptz(0),
  c_interval interval,
  c_uuid uuid, c_json json, c_jsonb jsonb, c_xml xml, c_jsonpath jsonpath,
  c_inet inet, c_cidr cidr, c_macaddr macaddr, c_macaddr8 macaddr8,
  c_tsvector tsvector, c_tsquery tsquery, c_hstore public.hstore,
  c_point point, c_line line, c_lseg lseg, c_box box, c_path path, c_polygon polygon, c_circle circle,
  c_int4range int4range, c_numrange numrange, c_tstzrange tstzrange, c_daterange daterange, c_float_range hard.float_range,
  c_mood hard.mood, c_email hard.email, c_code hard.code, c_pair hard.pair, c_nested hard.nested,
  c_positive_pair hard.positive_pair,
  c_int_array integer[], c_text_array text[], c_matrix integer[][], c_mood_array hard.mood[], c_pair_array hard.pair[],
  c_bytea_array bytea[], c_timestamptz_array timestamptz[], c_email_array hard.email[],
  c_pg_lsn pg_lsn, c_oid oid, c_regclass regclass,
  c_defaulted text NOT NULL DEFAULT 'a default; with ''quotes''',
  c_generated integer GENERATED ALWAYS AS (c_integer + 1) STORED,
  c_serial serial
);
ALTER TABLE hard.types DROP COLUMN gone_1, DROP COLUMN gone_2;
-- From 14 on multiranges exist; the column is added where they do.
DO $$ BEGIN
  IF current_setting('server_version_num')::int >= 140000 THEN
    EXECUTE 'ALTER TABLE hard.types ADD COLUMN c_int4multirange int4multirange DEFAULT ''{[1,3),[5,8)}''';
  END IF;
  IF current_setting('server_version_num')::int >= 180000 THEN
    EXECUTE 'ALTER TABLE hard.types ADD COLUMN c_virtual bigint GENERATED ALWAYS AS (c_integer::bigint * 2) VIRTUAL';
  END IF;
END $$;

-- Ordinary values, then every value that has a special text, then NULL everywhere, then empty rather than NULL.
INSERT INTO hard.types (tenant_id, c_smallint, c_integer, c_bigint, c_numeric, c_numeric_10_2, c_real, c_double, c_money, c_boolean,
  c_char, c_char_5, c_varchar, c_text, c_name, c_citext, c_bytea, c_bit_8, c_varbit, c_date, c_time, c_timetz, c_timestamp,
  c_timestamptz, c_timestamptz_0, c_interval, c_uuid, c_json, c_jsonb, c_xml, c_jsonpath, c_inet, c_cidr, c_macaddr, c_macaddr8,
  c_tsvector, c_tsquery, c_hstore, c_point, c_line, c_lseg, c_box, c_path, c_polygon, c_circle, c_int4range, c_numrange,
  c_tstzrange, c_daterange, c_float_range, c_mood, c_email, c_code, c_pair, c_nested, c_positive_pair, c_int_array, c_text_array,
  c_matrix, c_mood_array, c_pair_array, c_bytea_array, c_timestamptz_array, c_email_array, c_pg_lsn, c_oid, c_regclass)
VALUES
  ('00000000-0000-4000-8000-00000000000a', 1, 2, 3, 1234567890.123456789012345678901234567890, 12345678.90, 0.1, 0.1, -1234.56,
   true, 'x', 'ab', 'héllo', 'plain', 'a_name', 'CiText', '\xdeadbeef', B'10101010', B'1', '2024-02-29', '23:59:59.999999',
   '23:59:59.999999+05:30', '2024-02-29 23:59:59.999999', '2024-02-29 23:59:59.999999+05:30', '2024-02-29 23:59:59+00',
   '1 year 2 mons -3 days +04:05:06.789', '123e4567-e89b-12d3-a456-426614174000', '{"b":1,  "a" : [1,2,  3], "b":2}',
   '{"b":1,"a":[1.10,null,"\u00e9"]}', '<a b="c">&amp;<!-- x --></a>', '$.a[*] ? (@ > 1)', '192.168.1.5/24', '10.0.0.0/8',
   '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', 'a fat cat:3A sat:4B', 'fat & (rat | !cat)', '"a"=>"1", "b"=>NULL, "c d"=>"\"q\""',
   '(1.5,-2.25)', '{1,-1,0.1}', '[(0,0),(1,1)]', '(2,2),(0,0)', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', '<(1,2),3>',
   '[1,10)', '(1.5,2.5]', '[2020-01-01 00:00+00,)', '[2020-01-01,2021-01-01)', '[0.1,0.3)', 'Happy 🙂', 'x@example.org', 'abc',
   '(1,"te, ""xt""",sad)', ROW(ROW(1, 'x', 'o''k')::hard.pair, ARRAY[ROW(2, NULL, NULL)::hard.pair])::hard.nested,
   '(5,x,sad)', '{1,NULL,3}', '{a,"b c","NULL",NULL,"","{"}', '{{1,2},{3,4}}', ARRAY['with,comma', 'with"quote', NULL]::hard.mood[],
   ARRAY[ROW(1, 'a"b\c', 'sad')::hard.pair, NULL], ARRAY['\x00ff'::bytea, NULL], ARRAY['infinity', '2020-01-01 00:00:00+00']::timestamptz[],
   ARRAY['a@b']::hard.email[], '16/B374D848', 4294967295, 'hard.tenants'),
  ('00000000-0000-4000-8000-00000000000a', -32768, -2147483648, -9223372036854775808, 'NaN', -0.01, '-Infinity', 'NaN',
   '92233720368547758.07', false, '', '', '', E'tab\t newline\n return\r backslash\\ \\N \\. bell\a bs\b ff\f vt\v quote'' dquote" 🦆 ñ 你好 \u200b \u00a0',
   '', '', '\x', B'00000000', B'', '4714-11-24 BC', '24:00:00', '00:00:00-15:59', '-infinity', 'infinity', '0044-03-15 00:00:00+00 BC',
   '-178000000 years', '00000000-0000-0000-0000-000000000000', ' null ', 'null', '', '$', '::ffff:1.2.3.4/128', '2001:db8::/32',
   'ff:ff:ff:ff:ff:ff', 'ff:ff:ff:ff:ff:ff:ff:ff', '', '', '', '(Infinity,NaN)', '{0,1,-0}', '[(-1,-1),(-1,-1)]', '(0,0),(0,0)',
   '((1,1))', '((1,1))', '<(0,0),0>', 'empty', '(,)', '(-infinity,infinity)', 'empty', '[-Infinity,Infinity]', 'with"quote', '@', '',
   '(,,)', '(,)', '(1,,)', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '0/0', 0, NULL),
  ('00000000-0000-4000-8000-00000000000b', 32767, 2147483647 - 1, 9223372036854775807, 1e-30, 99999999.99, '3.4028235e38', '5e-324',
   '-92233720368547758.08', NULL, E'\\', ' a', E'\\.', E'\\.', 'Ünï', 'É', '\x00', B'11111111', B'101', '5874897-12-31', '00:00:00',
   '00:00:00+15:59', '294276-12-31 23:59:59.999999', '4714-11-24 00:00:00+00 BC', '-infinity', '-00:00:00.000001',
   'ffffffff-ffff-ffff-ffff-ffffffffffff', '"\u0041"', '[[],{},"",0,-0,1e10,1E400]', 'text &amp; no root', 'strict $."a b"', '0.0.0.0/0',
   '0.0.0.0/0', '00:00:00:00:00:00', '00:00:00:00:00:00:00:00', E'''quoted \\\\ lexeme'':1', E'''a b'':*AB', 'k=>v', '(-0,1e-300)',
   '{0,-1,5}', '[(1e300,0),(0,1)]', '(1,1),(-1,-1)', '[(0,0)]', '((0,0),(1,1))', '<(1,1),1e10>', '[5,)', '[1,1]', 'empty', '(,)', 'empty',
   'sad', 'a''b@c', 'x', NULL, NULL, NULL, '[2:3]={7,8}', '{NULL}', '[0:1][-1:0]={{1,NULL},{3,4}}', '{NULL,sad}', '{NULL}', '{NULL,"\\x"}',
   '{-infinity,NULL}', '{NULL}', 'FFFFFFFF/FFFFFFFF', 1, 'pg_catalog.pg_class');
INSERT INTO hard.types (tenant_id, c_code) VALUES ('00000000-0000-4000-8000-00000000000a', DEFAULT), ('00000000-0000-4000-8000-00000000000b', 'b');
UPDATE hard.types SET c_numeric = 'Infinity' WHERE current_setting('server_version_num')::int >= 140000 AND c_smallint = 32767;

CREATE TABLE hard."Mixed Case.Näme" (
  "tenant_id" uuid NOT NULL REFERENCES hard.tenants ON DELETE CASCADE,
  "Order" integer NOT NULL,
  "sel""ect" text,
  "emoji 🦆" text COLLATE "C",
  "$1" text DEFAULT '$$',
  PRIMARY KEY ("tenant_id", "Order")
);
INSERT INTO hard."Mixed Case.Näme" SELECT id, n, 'row ' || n, repeat('🦆', n), NULL FROM hard.tenants, generate_series(1, 3) n WHERE name <> 'Empty';

CREATE TABLE hard.no_key (tenant_id uuid NOT NULL REFERENCES hard.tenants, n integer, t text);
CREATE INDEX ON hard.no_key (tenant_id);
INSERT INTO hard.no_key SELECT id, n % 2, NULLIF(n, 3)::text FROM hard.tenants, generate_series(1, 4) n WHERE name <> 'Empty';
INSERT INTO hard.no_key SELECT * FROM hard.no_key;

CREATE TABLE hard.events (
  tenant_id uuid NOT NULL REFERENCES hard.tenants,
  id bigint GENERATED BY DEFAULT AS IDENTITY,
  at timestamptz NOT NULL,
  payload jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (tenant_id, id, at)
) PARTITION BY RANGE (at);
CREATE TABLE hard.events_2023 PARTITION OF hard.events FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE hard.events_2024 PARTITION OF hard.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY HASH (tenant_id);
CREATE TABLE hard.events_2024_0 PARTITION OF hard.events_2024 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hard.events_2024_1 PARTITION OF hard.events_2024 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE hard.events_rest PARTITION OF hard.events DEFAULT;
INSERT INTO hard.events (tenant_id, at, payload)
  SELECT id, timestamptz '2023-06-01 00:00+00' + n * interval '100 days', jsonb_build_object('n', n) FROM hard.tenants, generate_series(0, 9) n WHERE name <> 'Empty';

CREATE TABLE hard.nodes (
  id integer PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES hard.tenants,
  parent_id integer REFERENCES hard.nodes,
  label text NOT NULL,
  UNIQUE (tenant_id, label)
);
INSERT INTO hard.nodes SELECT 100 * t + n, id, CASE WHEN n > 1 THEN 100 * t + n / 2 END, 'node ' || n
  FROM (SELECT id, row_number() OVER (ORDER BY id) AS t FROM hard.tenants WHERE name <> 'Empty') x, generate_series(1, 7) n;

CREATE TABLE hard.notes (
  node_id integer NOT NULL REFERENCES hard.nodes ON DELETE CASCADE,
  seq smallint NOT NULL,
  body text NOT NULL,
  reply_to smallint,
  PRIMARY KEY (node_id, seq),
  FOREIGN KEY (node_id, reply_to) REFERENCES hard.notes (node_id, seq)
);
INSERT INTO hard.notes SELECT id, n, 'note ' || n, NULLIF(n - 1, 0) FROM hard.nodes, generate_series(1, 2) n;

CREATE TABLE hard.note_tags (
  note_node integer NOT NULL,
  note_seq smallint NOT NULL,
  tag public.citext NOT NULL,
  PRIMARY KEY (note_node, note_seq, tag),
  FOREIGN KEY (note_node, note_seq) REFERENCES hard.notes (node_id, seq) ON DELETE CASCADE
);
INSERT INTO hard.note_tags SELECT node_id, seq, 'Tag' FROM hard.notes WHERE seq = 1;

CREATE TABLE hard.cycle_a (id integer PRIMARY KEY, tenant_id uuid NOT NULL REFERENCES hard.tenants, b_id integer);
CREATE TABLE hard.cycle_b (id integer PRIMARY KEY, tenant_id uuid NOT NULL REFERENCES hard.tenants, a_id integer NOT NULL REFERENCES hard.cycle_a);
INSERT INTO hard.cycle_a SELECT 10 * row_number() OVER (ORDER BY id), id, NULL FROM hard.tenants WHERE name <> 'Empty';
INSERT INTO hard.cycle_b SELECT id + 1, tenant_id, id FROM hard.cycle_a;
UPDATE hard.cycle_a SET b_id = id + 1;
ALTER TABLE hard.cycle_a ADD FOREIGN KEY (b_id) REFERENCES hard.cycle_b DEFERRABLE INITIALLY IMMEDIATE;
