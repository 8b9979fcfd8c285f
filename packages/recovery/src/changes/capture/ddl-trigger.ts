import { z } from "zod";
import { quoteLiteral, quoteName } from "../../postgres/identifiers.ts";
import { COPY_TEXT_SETTINGS } from "../../postgres/session-settings.ts";
import { PublishedTable, publishedTables } from "./published-tables.ts";

/** Logical messages reach a decoder (`messages` of pgoutput) since 14. */
export const OLDEST_SERVER_WITH_MESSAGES = 140_000;

/** What the event triggers write into the WAL, in the transaction that does it. */
const DdlMessage = z.union([
  /** The table has these columns from here on. */
  z.object({ table: PublishedTable }).strict(),
  /** Every row of the table gets other values that no change tells. */
  z.object({ rewritten: PublishedTable.pick({ oid: true, table: true }) }).strict(),
  /** Something was done to tables, and could not be told. */
  z.object({ failed: z.string() }).strict(),
]);
export type DdlMessage = z.infer<typeof DdlMessage>;

/** ALTER TABLE's reasons to rewrite that give rows other values: a default that is no constant, and another type. */
const NEW_VALUES = 2 | 4;
/** What can take a column away without an ALTER TABLE: its type or collation goes, CASCADE. A table is a type, too. */
const DROPS = [
  "TYPE",
  "DOMAIN",
  "TABLE",
  "VIEW",
  "MATERIALIZED VIEW",
  "FOREIGN TABLE",
  "COLLATION",
  "SCHEMA",
  "EXTENSION",
  "OWNED",
].map((what) => `DROP ${what}`);

/**
 * An empty message behind the others. A decoder puts a message in order by where its record ends, and a change of a row by where its record begins: with
 * a savepoint in between, which the trigger's own EXCEPTION is, a change right behind the message could come before it.
 */
const END_OF_MESSAGES = "''";

const triggerName = (publicationName: string, event: string): string => `${publicationName}_${event}`;

/**
 * The SQL, for a superuser, of event triggers that write a table's columns into the WAL whenever somebody changes them: then the change log knows
 * where in the order of everything each change of columns was, and which column is which, however late it is read. They speak of the
 * publication's tables alone. A change of a table does not fail because of them unless the WAL can't be written.
 */
export function ddlTriggerStatement(publicationName: string): string {
  const publication = quoteLiteral(publicationName);
  const tell = `${quoteName(publicationName)}.tell_columns`;
  const settings = Object.entries({ ...COPY_TEXT_SETTINGS, search_path: "" })
    // A function can't set the encoding; a message comes in the client's of whoever reads it.
    .filter(([name]) => name !== "client_encoding")
    .map(([name, value]) => `SET ${name} = ${quoteLiteral(value)}`)
    .join(" ");
  const emit = (message: string): string =>
    `pg_catalog.pg_logical_emit_message(true, ${quoteLiteral(prefixOf(publicationName))}, (${message})::text)`;
  const trigger = (name: string, on: string, tags: readonly string[]): string => {
    const quoted = quoteName(triggerName(publicationName, name));
    const when = tags.map(quoteLiteral).join(", ");
    return `DROP EVENT TRIGGER IF EXISTS ${quoted};
CREATE EVENT TRIGGER ${quoted} ON ${on} WHEN TAG IN (${when}) EXECUTE FUNCTION ${tell}();
ALTER EVENT TRIGGER ${quoted} ENABLE ALWAYS;`;
  };
  return `CREATE SCHEMA IF NOT EXISTS ${quoteName(publicationName)};
CREATE OR REPLACE FUNCTION ${tell}() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER ${settings} AS $rowback$
DECLARE
  changed oid[];
BEGIN
  BEGIN
    IF TG_EVENT = 'table_rewrite' THEN
      PERFORM ${emit("pg_catalog.json_build_object('rewritten', pg_catalog.json_build_object('oid', c.oid::bigint, 'table', pg_catalog.json_build_object('schema', n.nspname, 'name', c.relname)))")}
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_publication_rel r ON r.prrelid = c.oid JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
      WHERE p.pubname = ${publication} AND pg_catalog.pg_event_trigger_table_rewrite_reason() & ${NEW_VALUES} <> 0
        AND c.oid = coalesce(pg_catalog.pg_partition_root(pg_catalog.pg_event_trigger_table_rewrite_oid()), pg_catalog.pg_event_trigger_table_rewrite_oid());
    ELSIF TG_EVENT = 'sql_drop' THEN
      SELECT pg_catalog.array_agg(DISTINCT o.objid) INTO changed FROM pg_catalog.pg_event_trigger_dropped_objects() o
      WHERE o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.objsubid > 0;
      IF changed IS NULL THEN RETURN; END IF;
    ELSE
      WITH RECURSIVE family AS (
        SELECT o.objid AS oid FROM pg_catalog.pg_event_trigger_ddl_commands() o WHERE o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        UNION SELECT i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid)
      SELECT pg_catalog.array_agg(f.oid) INTO changed FROM family f;
    END IF;
    PERFORM ${emit("pg_catalog.json_build_object('table', t.published)")}
    FROM (${publishedTables(publication, "coalesce(changed, '{}')")}) t;
  EXCEPTION WHEN OTHERS THEN
    PERFORM ${emit("pg_catalog.json_build_object('failed', SQLERRM)")};
  END;
  PERFORM ${emit(END_OF_MESSAGES)};
END $rowback$;
${trigger("altered", "ddl_command_end", ["ALTER TABLE"])}
${trigger("dropped", "sql_drop", DROPS)}
${trigger("rewritten", "table_rewrite", ["ALTER TABLE"])}`;
}

/** Event triggers that were seen at a look. */
export const DdlTrigger = z.object({
  /** The same as long as nobody changed them. */
  version: z.string(),
  /** Transactions below this id may have changed a table before the triggers were there. */
  from: z.string().regex(/^\d{1,20}$/),
  /** All of those had ended, so every change of a table from this look on is told. */
  inForce: z.boolean(),
});
export type DdlTrigger = z.infer<typeof DdlTrigger>;

/** What a look says of the triggers, after what the look before said. Pure. */
export function seeDdlTrigger(
  before: DdlTrigger | null,
  now: { readonly ddlTrigger: string | null; readonly oldestXid: bigint; readonly nextXid: bigint },
): DdlTrigger | null {
  const { ddlTrigger: version, oldestXid, nextXid } = now;
  if (version === null) return null;
  const from = before?.version === version ? before.from : nextXid.toString();
  return { version, from, inForce: oldestXid >= BigInt(from) };
}

/** Reads one row: `version` of the event triggers, null where one is missing or might not fire; `oldest`, the lowest id of a running transaction. */
export function ddlTriggerQuery(publicationName: string): string {
  const names = ["altered", "dropped", "rewritten"].map((event) => quoteLiteral(triggerName(publicationName, event)));
  return `SELECT CASE WHEN count(*) = ${names.length} THEN pg_catalog.string_agg(
    pg_catalog.concat_ws(':', e.oid, e.xmin, p.oid, p.xmin), ' ' ORDER BY e.evtname) END AS version,
    pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text AS oldest
  FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid
  WHERE e.evtenabled = 'A' AND e.evtname IN (${names.join(", ")})`;
}

/** Drops what `ddlTriggerStatement` made, where the role owns it. */
export function dropDdlTriggerStatement(publicationName: string): string {
  const schema = quoteName(publicationName);
  return `DO $rowback$ BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = ${quoteLiteral(publicationName)} AND pg_catalog.pg_has_role(nspowner, 'USAGE')) THEN
    DROP SCHEMA ${schema} CASCADE;
  END IF;
END $rowback$`;
}

function prefixOf(publicationName: string): string {
  return `${publicationName}.ddl`;
}

/** Null: somebody else's message. One that only seems to be of the triggers says nothing that could be relied on, as a failed one. */
export function readDdlMessage(prefix: string, content: Buffer, publicationName: string): DdlMessage | null {
  if (prefix !== prefixOf(publicationName) || content.length === 0) return null;
  const parsed = DdlMessage.safeParse(parseJson(content.toString("utf8")));
  return parsed.success ? parsed.data : { failed: "a message that no trigger of Rowback's writes" };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
