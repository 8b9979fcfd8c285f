import { z } from "zod";
import type { SourceClient } from "../postgres/source.ts";

const UniqueRule = z.object({
  /** The table's oid. */
  table: z.number(),
  /** The name of the constraint, or of the index where there is only an index. */
  name: z.string(),
  kind: z.enum(["unique", "exclusion"]),
  /** Two rows collide when, for every element, `sql operator sql` holds; SQL over the table's bare column names. */
  elements: z.array(z.object({ sql: z.string(), operator: z.string() })).min(1),
  /** Only rows for which this holds take part. */
  predicate: z.string().nullable(),
  nullsNotDistinct: z.boolean(),
  deferrable: z.boolean(),
});
/** What makes rows of a table exclude one another: primary key, unique constraint, unique index of any kind, EXCLUDE. */
export type UniqueRule = z.infer<typeof UniqueRule>;

/** Every unique and exclusion rule of the given tables, in one round trip, with the operators that the server itself uses. */
export async function readUniqueRules(client: SourceClient, tables: readonly number[]): Promise<UniqueRule[]> {
  if (tables.length === 0) return [];
  const { rows } = await client.query(RULES, [tables]);
  return z.array(UniqueRule).parse(rows);
}

// to_jsonb(i), because indnullsnotdistinct exists only from PostgreSQL 15 on. Strategy 3 of a B-tree is equality.
const RULES = `
SELECT i.indrelid::int8::int AS "table",
       coalesce(con.conname, c.relname)::text AS name,
       CASE WHEN con.conexclop IS NULL THEN 'unique' ELSE 'exclusion' END AS kind,
       pg_get_expr(i.indpred, i.indrelid) AS predicate,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS "nullsNotDistinct",
       coalesce(con.condeferrable, false) AS deferrable,
       (SELECT json_agg(json_build_object('sql', pg_get_indexdef(i.indexrelid, k, false),
                                          'operator', format('OPERATOR(%I.%s)', n.nspname, o.oprname)) ORDER BY k)
        FROM generate_series(1, i.indnkeyatts) AS k
        JOIN pg_opclass AS opc ON opc.oid = i.indclass[k - 1]
        LEFT JOIN pg_amop AS a ON a.amopfamily = opc.opcfamily AND a.amoplefttype = opc.opcintype
                              AND a.amoprighttype = opc.opcintype AND a.amopstrategy = 3 AND con.conexclop IS NULL
        JOIN pg_operator AS o ON o.oid = coalesce(con.conexclop[k], a.amopopr)
        JOIN pg_namespace AS n ON n.oid = o.oprnamespace) AS elements
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
LEFT JOIN pg_constraint AS con ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid AND con.contype IN ('p', 'u', 'x')
WHERE i.indrelid = ANY ($1::oid[]) AND (i.indisunique OR i.indisexclusion) AND i.indislive
ORDER BY 1, 2`;
