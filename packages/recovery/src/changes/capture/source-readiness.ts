import { z } from "zod";
import type { SourceClient } from "../../postgres/source.ts";
import { TableName } from "../../postgres/tenancy.ts";

const Index = z.object({ name: z.string(), columns: z.array(z.string()) });

/** A table of which changes are to be captured, as far as its changes can be told. */
const CandidateTable = z.object({
  table: TableName,
  kind: z.enum(["table", "partitioned"]),
  persistence: z.enum(["permanent", "unlogged"]),
  owned: z.boolean(),
  /** `pg_class.relreplident`, and the columns that it stands for; none where updates would fail once the table is published. */
  identity: z.enum(["d", "n", "f", "i"]),
  identityColumns: z.array(z.string()),
  /** Unique indexes that could be the identity: not partial, not deferrable, of NOT NULL columns alone. */
  usableIndexes: z.array(Index),
  notNull: z.array(z.string()),
  /** Partitions with rows of their own whose identity is not what the capture can read. */
  oddPartitions: z.array(z.object({ table: TableName, identity: z.enum(["d", "n", "f", "i"]), hasKey: z.boolean() })),
});
export type CandidateTable = z.infer<typeof CandidateTable>;

const Readiness = z.object({
  walLevel: z.string(),
  inRecovery: z.boolean(),
  serverVersionNumber: z.coerce.number().int(),
  role: z.string(),
  database: z.string(),
  mayReplicate: z.boolean(),
  superuser: z.boolean(),
  mayCreate: z.boolean(),
  slotsLeft: z.coerce.number().int(),
  sendersLeft: z.coerce.number().int(),
  /** MiB; -1: without limit. */
  keepSizeMib: z.coerce.number().int(),
  slotExists: z.boolean(),
  /** Null: there is no such publication. */
  published: z.array(TableName).nullable(),
  viaRoot: z.boolean().nullable(),
  /** Event triggers tell of changed columns. */
  ddlTrigger: z.boolean(),
});

/** What the server, the role and the tables offer to a capture. */
export type SourceReadiness = z.infer<typeof Readiness> & { readonly tables: readonly CandidateTable[] };

const SERVER = `SELECT pg_catalog.current_setting('wal_level') AS "walLevel", pg_catalog.pg_is_in_recovery() AS "inRecovery",
  pg_catalog.current_setting('server_version_num') AS "serverVersionNumber", r.rolname AS role, pg_catalog.current_database() AS database,
  r.rolsuper AS superuser,
  r.rolsuper OR r.rolreplication OR EXISTS (SELECT FROM pg_catalog.pg_roles g
    WHERE g.rolname IN ('rds_replication', 'azure_pg_admin', 'cloudsqlreplica') AND pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER')) AS "mayReplicate",
  pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') AS "mayCreate",
  pg_catalog.current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_catalog.pg_replication_slots) AS "slotsLeft",
  pg_catalog.current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_catalog.pg_stat_replication) AS "sendersLeft",
  (SELECT s.setting FROM pg_catalog.pg_settings s WHERE s.name = 'max_slot_wal_keep_size') AS "keepSizeMib",
  EXISTS (SELECT FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1) AS "slotExists",
  p.pubviaroot AS "viaRoot",
  EXISTS (SELECT FROM pg_catalog.pg_event_trigger e WHERE e.evtenabled = 'A' AND e.evtname = $2 || '_altered') AS "ddlTrigger",
  CASE WHEN p.oid IS NOT NULL THEN coalesce((SELECT json_agg(json_build_object('schema', n.nspname, 'name', c.relname))
    FROM pg_catalog.pg_publication_rel pr JOIN pg_catalog.pg_class c ON c.oid = pr.prrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE pr.prpubid = p.oid), '[]') END AS published
FROM pg_catalog.pg_roles r LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $2
WHERE r.rolname = current_user`;

/** The columns of a table's replica identity. */
const identityColumns = (table: string): string => `(SELECT pg_catalog.array_agg(a.attname::text)
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
  WHERE i.indrelid = ${table}.oid AND i.indisvalid AND CASE ${table}.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)`;

const TABLES = `SELECT json_build_object('table', json_build_object('schema', n.nspname, 'name', c.relname),
  'kind', CASE c.relkind WHEN 'p' THEN 'partitioned' ELSE 'table' END,
  'persistence', CASE c.relpersistence WHEN 'p' THEN 'permanent' ELSE 'unlogged' END,
  'owned', pg_catalog.pg_has_role(c.relowner, 'USAGE'),
  'identity', c.relreplident, 'identityColumns', coalesce(${identityColumns("c")}, '{}'),
  'usableIndexes', coalesce((SELECT json_agg(json_build_object('name', ic.relname, 'columns', (
      SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)))
      ORDER BY ic.relname)
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND NOT a.attnotnull)), '[]'),
  'notNull', coalesce((SELECT json_agg(a.attname) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attnotnull), '[]'),
  'oddPartitions', coalesce((SELECT json_agg(json_build_object('table', json_build_object('schema', ln.nspname, 'name', l.relname),
      'identity', l.relreplident, 'hasKey', ${identityColumns("l")} IS NOT NULL) ORDER BY ln.nspname, l.relname)
    FROM pg_catalog.pg_partition_tree(c.oid) t JOIN pg_catalog.pg_class l ON l.oid = t.relid JOIN pg_catalog.pg_namespace ln ON ln.oid = l.relnamespace
    WHERE c.relkind = 'p' AND t.isleaf AND NOT (l.relreplident = 'f' OR l.relreplident = 'd' AND ${identityColumns("l")} IS NOT NULL)), '[]')) AS candidate
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN unnest($1::text[], $2::text[]) AS wanted(schema, name) ON wanted.schema = n.nspname AND wanted.name = c.relname
WHERE c.relkind IN ('r', 'p') ORDER BY n.nspname, c.relname`;

/** Reads what a capture of these tables would meet. Two round trips. Errors as of the driver. */
export async function readReadiness(
  client: SourceClient,
  names: { readonly slotName: string; readonly publicationName: string },
  tables: readonly TableName[],
): Promise<SourceReadiness> {
  const { rows } = await client.query(SERVER, [names.slotName, names.publicationName]);
  const [server] = z.tuple([Readiness]).parse(rows);
  const found = await client.query(TABLES, [tables.map((table) => table.schema), tables.map((table) => table.name)]);
  const candidates = z.array(z.object({ candidate: CandidateTable })).parse(found.rows);
  return { ...server, tables: candidates.map((row) => row.candidate) };
}
