/**
 * The catalogue queries: one a topic, whatever the number of tables. Every name is qualified by the fixed, empty search_path
 * (pg_catalog is searched first, always). `to_jsonb(row) ->> 'column'` reads a column that older servers don't have.
 */

/** `fold(oid, root)`: each table of a user, and the partitioned table it is a part of (itself, where it is none). */
const FOLD = `
  WITH RECURSIVE fold(oid, root) AS (
    SELECT c.oid, c.oid
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND NOT c.relispartition
      AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND NOT EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e')
    UNION ALL
    SELECT i.inhrelid, f.root
    FROM fold f JOIN pg_inherits i ON i.inhparent = f.oid JOIN pg_class c ON c.oid = i.inhrelid
    WHERE c.relispartition
  )`;

export const ROLE = `
  SELECT r.rolname AS name, r.rolsuper AS superuser, r.rolbypassrls AS "bypassRls",
    current_setting('server_version_num')::int AS "serverVersionNumber"
  FROM pg_roles r WHERE r.rolname = current_user`;

/** From PostgreSQL 15 the right to set a parameter can be granted. */
export const MAY_SET_REPLICATION_ROLE = `SELECT has_parameter_privilege('session_replication_role', 'SET') AS allowed`;

export const TABLES = `${FOLD},
  parts AS (
    SELECT f.root,
      jsonb_agg(jsonb_build_object('schema', n.nspname, 'name', c.relname)) FILTER (WHERE f.oid <> f.root) AS partitions,
      coalesce(bool_or(c.relkind = 'f') FILTER (WHERE f.oid <> f.root), false) AS foreign_partitions,
      bool_or(c.relpersistence = 'u') AS unlogged,
      bool_or(c.relkind IN ('r', 'f') AND c.reltuples < 0) AS unknown_rows,
      sum(greatest(c.reltuples, 0)) FILTER (WHERE c.relkind <> 'p') AS rows,
      sum((c.relpages::bigint + coalesce(t.relpages, 0)) * 8192) AS bytes
    FROM fold f JOIN pg_class c ON c.oid = f.oid JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
    GROUP BY f.root
  )
  SELECT c.oid::int8::float8 AS oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind, p.unlogged,
    c.relrowsecurity AS "rlsEnabled", c.relforcerowsecurity AS "rlsForced", row_security_active(c.oid) AS "rlsActive",
    c.relhasrules AS "hasRules",
    has_schema_privilege(n.oid, 'USAGE') AS usage, has_table_privilege(c.oid, 'SELECT') AS "select",
    has_table_privilege(c.oid, 'INSERT') AS "insert", has_table_privilege(c.oid, 'UPDATE') AS "update",
    has_table_privilege(c.oid, 'DELETE') AS "delete",
    coalesce(p.partitions, '[]') AS partitions, p.foreign_partitions AS "foreignPartitions",
    CASE WHEN p.unknown_rows AND p.rows = 0 THEN -1 ELSE coalesce(p.rows, 0) END::float8 AS "estimatedRows",
    p.bytes::float8 AS bytes,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('schema', pn.nspname, 'name', pc.relname) ORDER BY i.inhseqno), '[]')
      FROM pg_inherits i JOIN pg_class pc ON pc.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = pc.relnamespace
      WHERE i.inhrelid = c.oid) AS "inheritsFrom",
    c.relkind <> 'p' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AS "hasInheritanceChildren"
  FROM parts p JOIN pg_class c ON c.oid = p.root JOIN pg_namespace n ON n.oid = c.relnamespace`;

/** `types`: every column type with its domain unwrapped and the equality of its default B-tree operator class. */
const TYPES = `
  domains(oid, base) AS (
    SELECT t.oid, t.oid FROM pg_type t WHERE t.typtype <> 'd'
    UNION ALL
    SELECT t.oid, d.base FROM domains d JOIN pg_type t ON t.typbasetype = d.oid AND t.typtype = 'd'
  ),
  classes AS (
    SELECT o.opcintype AS type, format('OPERATOR(%I.%s)', n.nspname, p.oprname) AS equality
    FROM pg_opclass o
      JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'btree'
      JOIN pg_amop a ON a.amopfamily = o.opcfamily AND a.amopstrategy = 3
        AND a.amoplefttype = o.opcintype AND a.amoprighttype = o.opcintype
      JOIN pg_operator p ON p.oid = a.amopopr
      JOIN pg_namespace n ON n.oid = p.oprnamespace
    WHERE o.opcdefault
  ),
  simple AS (
    SELECT t.oid, coalesce(
      (SELECT c.equality FROM classes c WHERE c.type = t.oid),
      CASE WHEN t.typtype IN ('e', 'r', 'm', 'c') THEN 'OPERATOR(pg_catalog.=)' END,
      (SELECT c.equality FROM pg_cast x JOIN classes c ON c.type = x.casttarget
        WHERE x.castsource = t.oid AND x.castmethod = 'b' AND x.castcontext = 'i' ORDER BY x.casttarget LIMIT 1)) AS equality
    FROM pg_type t WHERE t.typtype <> 'd'
  ),
  types AS (
    SELECT d.oid, format_type(d.base, -1) AS "baseType",
      CASE WHEN b.typcategory = 'A' THEN 'array' ELSE
        CASE b.typtype WHEN 'b' THEN 'base' WHEN 'e' THEN 'enum' WHEN 'c' THEN 'composite' WHEN 'r' THEN 'range'
          WHEN 'm' THEN 'multirange' ELSE 'pseudo' END END AS kind,
      CASE WHEN b.typcategory = 'A' AND b.typelem <> 0
        THEN (SELECT s.equality IS NOT NULL FROM domains e JOIN simple s ON s.oid = e.base WHERE e.oid = b.typelem)
        END AS array_comparable,
      s.equality
    FROM domains d JOIN pg_type b ON b.oid = d.base JOIN simple s ON s.oid = d.base
    WHERE d.oid IN (SELECT a.atttypid FROM pg_attribute a JOIN fold f ON f.root = a.attrelid WHERE a.attnum > 0)
  )`;

export const COLUMNS = `${FOLD}, ${TYPES}
  SELECT a.attrelid::int8::float8 AS oid, a.attname AS name, a.attnum, format_type(a.atttypid, a.atttypmod) AS type,
    a.atttypid::int8::float8 AS "typeOid", a.attnotnull AS "notNull", a.attgenerated AS generated, a.attidentity AS identity,
    pg_get_expr(e.adbin, e.adrelid) AS "default", t.kind AS "typeKind", t."baseType",
    CASE WHEN t.array_comparable IS NULL THEN t.equality WHEN t.array_comparable THEN 'OPERATOR(pg_catalog.=)' END AS equality
  FROM pg_attribute a
    JOIN types t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid IN (SELECT f.root FROM fold f)
  ORDER BY a.attrelid, a.attnum`;

export const UNIQUE_INDEXES = `${FOLD}
  SELECT i.indrelid::int8::float8 AS oid, coalesce(k.conname, c.relname) AS name, i.indisprimary AS "primary",
    NOT i.indimmediate AS deferrable,
    coalesce(to_jsonb(i) ->> 'indnullsnotdistinct' = 'true', false) AS "nullsNotDistinct",
    i.indpred IS NULL AND i.indexprs IS NULL AND NOT i.indisexclusion AS simple,
    CASE WHEN i.indisexclusion THEN pg_get_constraintdef(k.oid) ELSE pg_get_indexdef(i.indexrelid) END AS definition,
    (SELECT jsonb_agg(a.attname ORDER BY u.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u(attnum, n)
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum WHERE u.n <= i.indnkeyatts) AS columns,
    (SELECT bool_and(a.attnotnull) FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u(attnum, n)
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum WHERE u.n <= i.indnkeyatts) AS "notNull"
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x') AND k.conrelid = i.indrelid
  WHERE (i.indisunique OR i.indisexclusion) AND i.indisvalid AND i.indrelid IN (SELECT f.root FROM fold f)`;

export const FOREIGN_KEYS = `${FOLD}
  SELECT k.conname AS constraint, a.root::int8::float8 AS "fromOid", b.root::int8::float8 AS "toOid",
    (SELECT jsonb_agg(t.attname ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY AS u(attnum, n)
      JOIN pg_attribute t ON t.attrelid = k.conrelid AND t.attnum = u.attnum) AS columns,
    (SELECT bool_and(t.attnotnull) FROM pg_attribute t WHERE t.attrelid = k.conrelid AND t.attnum = ANY (k.conkey)) AS "notNull",
    (SELECT jsonb_agg(t.attname ORDER BY u.n) FROM unnest(k.confkey) WITH ORDINALITY AS u(attnum, n)
      JOIN pg_attribute t ON t.attrelid = k.confrelid AND t.attnum = u.attnum) AS referenced,
    (SELECT jsonb_agg(format('OPERATOR(%I.%s)', n.nspname, p.oprname) ORDER BY u.n)
      FROM unnest(k.conpfeqop) WITH ORDINALITY AS u(operator, n)
      JOIN pg_operator p ON p.oid = u.operator JOIN pg_namespace n ON n.oid = p.oprnamespace) AS operators,
    k.condeferrable AS deferrable, k.condeferred AS "initiallyDeferred", k.confdeltype AS "onDelete", k.confupdtype AS "onUpdate",
    k.confmatchtype = 'f' AS "matchFull",
    k.convalidated AND coalesce(to_jsonb(k) ->> 'conenforced' <> 'false', true) AS enforced,
    a.oid <> a.root OR b.oid <> b.root OR coalesce(to_jsonb(k) ->> 'conperiod' = 'true', false) AS partial
  FROM pg_constraint k JOIN fold a ON a.oid = k.conrelid JOIN fold b ON b.oid = k.confrelid
  WHERE k.contype = 'f' AND k.conparentid = 0`;

export const TRIGGERS = `${FOLD}
  SELECT DISTINCT f.root::int8::float8 AS oid, t.tgname AS name, t.tgtype::int AS type, t.tgenabled AS enabled
  FROM pg_trigger t JOIN fold f ON f.oid = t.tgrelid
  WHERE NOT t.tgisinternal AND t.tgparentid = 0`;

/** A sequence feeds a column by ownership (serial), by identity, or because the column's default names it. */
export const SEQUENCES = `${FOLD}
  SELECT f.root::int8::float8 AS oid, n.nspname AS schema, s.relname AS name, a.attname AS column,
    bool_or(u.deptype = 'i') AS identity
  FROM (
    SELECT d.objid AS sequence, d.refobjid AS relid, d.refobjsubid::int2 AS attnum, d.deptype
    FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
    UNION ALL
    SELECT d.refobjid, e.adrelid, e.adnum, d.deptype
    FROM pg_depend d JOIN pg_attrdef e ON e.oid = d.objid
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'
  ) u
    JOIN pg_class s ON s.oid = u.sequence AND s.relkind = 'S'
    JOIN pg_namespace n ON n.oid = s.relnamespace
    JOIN fold f ON f.oid = u.relid AND f.oid = f.root
    JOIN pg_attribute a ON a.attrelid = u.relid AND a.attnum = u.attnum
  GROUP BY f.root, n.nspname, s.relname, a.attname`;
