/** The DDL queries: each takes the tables' oids as `$1`, and answers for them and their partitions. */

const WANTED = `
  WITH RECURSIVE wanted(oid, depth) AS (
    SELECT r.oid, 0 FROM unnest($1::oid[]) AS r(oid)
    UNION ALL
    SELECT i.inhrelid, w.depth + 1
    FROM wanted w JOIN pg_inherits i ON i.inhparent = w.oid JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition
  )`;

export const RELATIONS = `${WANTED}
  SELECT c.oid::int8::float8 AS oid, n.nspname AS schema, c.oid::regclass::text AS name, w.depth,
    c.relpersistence = 'u' AS unlogged, c.relkind = 'f' AS "foreign",
    CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS "partitionKey",
    CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END AS bound,
    (SELECT coalesce(jsonb_agg(i.inhparent::regclass::text ORDER BY i.inhseqno), '[]') FROM pg_inherits i WHERE i.inhrelid = c.oid) AS parents,
    (SELECT coalesce(jsonb_agg(i.inhparent::int8 ORDER BY i.inhseqno), '[]') FROM pg_inherits i WHERE i.inhrelid = c.oid) AS "parentOids"
  FROM wanted w JOIN pg_class c ON c.oid = w.oid JOIN pg_namespace n ON n.oid = c.relnamespace
  ORDER BY w.depth, n.nspname COLLATE "C", c.relname COLLATE "C"`;

export const COLUMNS = `${WANTED}
  SELECT a.attrelid::int8::float8 AS oid, quote_ident(a.attname) AS name, format_type(a.atttypid, a.atttypmod) AS type,
    a.attnotnull AS "notNull", a.attgenerated AS generated, a.attidentity AS identity,
    pg_get_expr(d.adbin, d.adrelid) AS "default",
    CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
      THEN format('%I.%I', cn.nspname, co.collname) END AS collation,
    CASE WHEN a.attidentity <> '' THEN pg_get_serial_sequence(a.attrelid::regclass::text, a.attname) END AS sequence
  FROM wanted w JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN pg_collation co ON co.oid = a.attcollation
    LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
  WHERE w.depth = 0
  ORDER BY a.attrelid, a.attnum`;

/** Sequences that the columns own, are identities of, or take their default from. `ownedBy` for the first kind. */
export const SEQUENCES = `${WANTED}
  SELECT DISTINCT n.nspname AS schema, s.oid::regclass::text AS name, format_type(q.seqtypid, NULL) AS type, q.seqstart::text AS start,
    q.seqincrement::text AS increment, q.seqmin::text AS min, q.seqmax::text AS max, q.seqcache::text AS cache, q.seqcycle AS cycle,
    u.deptype = 'i' AS identity,
    CASE WHEN u.deptype = 'a' THEN u.relid::regclass::text || '.' || quote_ident(a.attname) END AS "ownedBy"
  FROM (
    SELECT d.objid AS sequence, d.refobjid AS relid, d.refobjsubid::int2 AS attnum, d.deptype
    FROM pg_depend d JOIN wanted w ON w.oid = d.refobjid AND w.depth = 0
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
    UNION ALL
    SELECT d.refobjid, e.adrelid, e.adnum, d.deptype
    FROM pg_attrdef e JOIN wanted w ON w.oid = e.adrelid AND w.depth = 0
      JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'
  ) u
    JOIN pg_class s ON s.oid = u.sequence AND s.relkind = 'S'
    JOIN pg_namespace n ON n.oid = s.relnamespace
    JOIN pg_sequence q ON q.seqrelid = s.oid
    JOIN pg_attribute a ON a.attrelid = u.relid AND a.attnum = u.attnum
  ORDER BY 2, "ownedBy"`;

/** Types the columns need, needed ones with them; those of an extension only by the extension's name. */
export const TYPES = `${WANTED},
  used(oid) AS (
    SELECT a.atttypid FROM wanted w JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE w.depth = 0
    UNION
    SELECT next.oid
    FROM used u JOIN pg_type t ON t.oid = u.oid
      LEFT JOIN pg_range r ON r.rngtypid = t.oid OR to_jsonb(r) ->> 'rngmultitypid' = t.oid::text
      CROSS JOIN LATERAL (
        SELECT t.typbasetype AS oid WHERE t.typtype = 'd'
        UNION ALL SELECT t.typelem WHERE t.typelem <> 0
        UNION ALL SELECT r.rngsubtype WHERE r.rngtypid IS NOT NULL
        UNION ALL SELECT r.rngtypid WHERE r.rngtypid IS NOT NULL
        UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped
      ) next
    WHERE t.oid >= 16384 OR t.typelem >= 16384
  )
  SELECT t.oid::int8::float8 AS oid, n.nspname AS schema, format_type(t.oid, NULL) AS name, t.typtype AS kind,
    (SELECT jsonb_build_object('name', e.extname, 'schema', en.nspname) FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_namespace en ON en.oid = e.extnamespace
      WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e') AS extension,
    (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels,
    CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END AS base,
    CASE WHEN t.typtype = 'd' THEN t.typdefault END AS "default",
    CASE WHEN t.typtype = 'd' AND t.typcollation <> b.typcollation
      THEN (SELECT format('%I.%I', cn.nspname, co.collname) FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace
        WHERE co.oid = t.typcollation) END AS collation,
    t.typnotnull AS "notNull",
    (SELECT coalesce(jsonb_agg(format('CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)) ORDER BY k.conname), '[]')
      FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c') AS checks,
    (SELECT jsonb_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum)
      FROM pg_attribute a WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped) AS attributes,
    (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid) AS subtype,
    coalesce(
      (SELECT jsonb_agg(DISTINCT x.oid::int8) FROM (
        SELECT CASE WHEN e.typcategory = 'A' THEN e.typelem ELSE e.oid END AS oid FROM pg_type e
        WHERE e.oid IN (SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0)
          OR e.oid = t.typbasetype
          OR e.oid IN (SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid)) x), '[]') AS needs
  FROM used u JOIN pg_type t ON t.oid = u.oid JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_type b ON b.oid = t.typbasetype
  WHERE t.oid >= 16384 AND t.typcategory <> 'A' AND t.typtype IN ('b', 'd', 'e', 'c', 'r')
  ORDER BY t.oid`;

export const CONSTRAINTS = `${WANTED}
  SELECT k.conrelid::regclass::text AS "table", quote_ident(k.conname) AS name, k.contype AS kind, pg_get_constraintdef(k.oid) AS definition,
    k.confrelid = 0 OR k.confrelid IN (SELECT w.oid FROM wanted w) AS inside,
    k.confrelid::regclass::text AS "refersTo"
  FROM pg_constraint k JOIN wanted w ON w.oid = k.conrelid
  WHERE k.contype IN ('p', 'u', 'x', 'c', 'f') AND k.conparentid = 0 AND k.conislocal
    AND NOT (w.depth > 0 AND k.contype = 'c' AND k.coninhcount > 0)
  ORDER BY w.depth, k.conrelid::regclass::text COLLATE "C", k.conname COLLATE "C"`;

export const INDEXES = `${WANTED}
  SELECT pg_get_indexdef(i.indexrelid) AS definition, i.indrelid::regclass::text AS "table"
  FROM pg_index i JOIN wanted w ON w.oid = i.indrelid JOIN pg_class c ON c.oid = i.indexrelid
  WHERE i.indisvalid AND NOT c.relispartition
    AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
  ORDER BY w.depth, i.indrelid::regclass::text COLLATE "C", c.relname COLLATE "C"`;
