import { z } from "zod";
import type { SourceClient } from "../../postgres/source.ts";
import { ddlTriggerQuery } from "./ddl-trigger.ts";
import { PublishedTable, publishedTables } from "./published-tables.ts";
import { lsnFromServer } from "./wal-position.ts";

export interface Published {
  readonly tables: readonly PublishedTable[];
  /** The next transaction id, 64 bits: whatever the tables show was written by transactions below it. */
  readonly nextXid: bigint;
  /** What the server had written, 16 hexadecimal digits, and its clock in microseconds since 1970, just before it was looked. */
  readonly lsn: string;
  readonly at: bigint;
  /** The same just after: whatever is committed behind this position came after what was seen. */
  readonly endLsn: string;
  readonly endAt: bigint;
  /** The version of the event triggers that tell of changed columns (ddl-trigger.ts); null: there are none. */
  readonly ddlTrigger: string | null;
  /** Every transaction below this id had ended when that was read. */
  readonly oldestXid: bigint;
}

const Moment = z.tuple([z.object({ lsn: z.string(), at: z.coerce.bigint() })]);
const Triggers = z.tuple([z.object({ version: z.string().nullable(), oldest: z.coerce.bigint() })]);

/** The publication's tables now, or those of them with these oids. Five round trips, whatever their number. */
export async function readPublished(
  client: SourceClient,
  publicationName: string,
  oids: readonly number[] | null = null,
): Promise<Published> {
  const { lsn, at } = await readMoment(client, "pg_catalog.pg_current_wal_lsn()");
  // Before the tables: what is done to them from then on is told.
  const [{ version, oldest }] = Triggers.parse((await client.query(ddlTriggerQuery(publicationName))).rows);
  const tables = z
    .array(z.object({ published: PublishedTable }))
    .parse((await client.query(publishedTables("$1", "$2"), [publicationName, oids])).rows)
    .map((row) => row.published);
  const nextXid = await readNextXid(client);
  const end = await readMoment(client, "pg_catalog.pg_current_wal_insert_lsn()");
  return { tables, nextXid, lsn, at, endLsn: end.lsn, endAt: end.at, ddlTrigger: version, oldestXid: oldest };
}

async function readMoment(client: SourceClient, position: string): Promise<{ lsn: string; at: bigint }> {
  const { rows } = await client.query(
    `SELECT ${position}::text AS lsn, (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint AS at`,
  );
  const [moment] = Moment.parse(rows);
  return { lsn: lsnFromServer(moment.lsn), at: moment.at };
}

/** `pg_snapshot_xmax(pg_current_snapshot())`: every transaction that began by now is below it. */
export async function readNextXid(client: SourceClient): Promise<bigint> {
  const { rows } = await client.query(
    "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text AS xid",
  );
  return z.tuple([z.object({ xid: z.coerce.bigint() })]).parse(rows)[0].xid;
}
