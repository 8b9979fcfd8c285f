import { createHash } from "node:crypto";
import { z } from "zod";
import type { SourceClient } from "./source.ts";

/**
 * One line per catalogue: how many rows of ours it has, and a sum over (oid, xmin) that any added, removed or changed row
 * changes. `xmin` is the transaction that wrote the row version, so DDL moves it, and what ANALYZE and VACUUM write in place
 * (relpages, reltuples, relfrozenxid) does not. Rows of temporary tables are left out: other sessions make and drop them all day.
 */
const STAMP = `
  WITH r AS MATERIALIZED (
    SELECT c.oid, c.xmin, c.relkind FROM pg_class c
    WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'f', 'S', 'c', 'i', 'I')
  ), rows(catalog, oid, written) AS (
    SELECT 'pg_class', r.oid, r.xmin FROM r
    UNION ALL SELECT 'pg_attribute', a.attrelid, a.xmin FROM r JOIN pg_attribute a ON a.attrelid = r.oid
      WHERE a.attnum > 0 AND r.relkind IN ('r', 'p', 'f', 'c')
    UNION ALL SELECT 'pg_attrdef', d.oid, d.xmin FROM pg_attrdef d WHERE d.adrelid IN (SELECT r.oid FROM r)
    UNION ALL SELECT 'pg_constraint', k.oid, k.xmin FROM pg_constraint k
      WHERE k.oid >= 16384 AND (k.conrelid = 0 OR k.conrelid IN (SELECT r.oid FROM r))
    UNION ALL SELECT 'pg_index', i.indexrelid, i.xmin FROM pg_index i WHERE i.indexrelid IN (SELECT r.oid FROM r)
    UNION ALL SELECT 'pg_inherits', h.inhrelid, h.xmin FROM pg_inherits h WHERE h.inhrelid IN (SELECT r.oid FROM r)
    UNION ALL SELECT 'pg_trigger', t.oid, t.xmin FROM pg_trigger t WHERE t.tgrelid IN (SELECT r.oid FROM r)
    UNION ALL SELECT 'pg_policy', p.oid, p.xmin FROM pg_policy p
    UNION ALL SELECT 'pg_type', t.oid, t.xmin FROM pg_type t WHERE t.oid >= 16384 AND t.typtype IN ('d', 'e', 'r')
    UNION ALL SELECT 'pg_enum', e.oid, e.xmin FROM pg_enum e
    UNION ALL SELECT 'pg_namespace', n.oid, n.xmin FROM pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'pg_depend', d.objid, d.xmin FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'e', 'i') AND d.objid IN (SELECT r.oid FROM r)
    UNION ALL SELECT 'pg_auth_members', m.roleid, m.xmin FROM pg_auth_members m
  )
  SELECT string_agg(s.line, ',' ORDER BY s.line) AS rows,
    (SELECT concat_ws(',', r.rolname, r.rolsuper, r.rolbypassrls, current_setting('server_version_num'), current_database())
      FROM pg_roles r WHERE r.rolname = current_user) AS session
  FROM (
    SELECT concat_ws(':', catalog, count(*),
      sum(hashint8extended((oid::int8 << 32) | written::text::int8, 0)::numeric)) AS line
    FROM rows GROUP BY catalog
  ) s`;

const Row = z.object({ rows: z.string().nullable(), session: z.string() });

/** What the schema, and the role's rights on it, are at this session's snapshot, in 32 hexadecimal digits. One round trip. */
export async function readStamp(client: SourceClient): Promise<string> {
  const { rows } = await client.query({ name: "rowback_catalog_stamp", text: STAMP });
  const { rows: catalogs, session } = Row.parse(rows[0]);
  return createHash("sha256")
    .update(`${catalogs ?? ""}|${session}`)
    .digest("hex")
    .slice(0, 32);
}
