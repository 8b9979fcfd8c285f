import { createHash } from "node:crypto";
import { pipeline } from "node:stream/promises";
import pg from "pg";
import { to as copyTo } from "pg-copy-streams";
import { z } from "zod";

/** One table of the world, and SQL that says whether a row `t` of it is that account's. */
const TABLES: Readonly<Record<string, string>> = {
  accounts: "t.id = $1",
  projects: "t.account_id = $1",
  notes: "EXISTS (SELECT FROM projects p WHERE p.id = t.project_id AND p.account_id = $1)",
  note_tags:
    "EXISTS (SELECT FROM notes n JOIN projects p ON p.id = n.project_id WHERE n.id = t.note_id AND p.account_id = $1)",
  items: "t.account_id = $1",
  documents: "t.account_id = $1",
  labels: "t.account_id = $1",
  clicks: "t.account_id = $1",
  events: "t.account_id = $1",
  drafts: "t.account_id = $1",
  flex: "t.account_id = $1",
};
export const TABLE_NAMES = Object.keys(TABLES);

/** What fixes COPY's text; said again here, so that a wrong setting of Rowback's would tell. */
const TEXT_SETTINGS = {
  DateStyle: "ISO, YMD",
  IntervalStyle: "postgres",
  TimeZone: "UTC",
  extra_float_digits: "3",
  bytea_output: "hex",
};

/** What a tenant's rows of one table are: sorted COPY text. */
export interface TableRows {
  readonly columns: readonly string[];
  readonly lines: readonly string[];
}

/** By account, then by table. */
export type Reference = ReadonlyMap<number, ReadonlyMap<string, TableRows>>;

/** Reads what everybody owns, over plain SQL of this file's own: none of Rowback's scoping, copying or folding. */
export async function readReference(client: pg.ClientBase, accounts: readonly number[]): Promise<Reference> {
  for (const [name, value] of Object.entries(TEXT_SETTINGS)) {
    await client.query("SELECT set_config($1, $2, true)", [name, value]);
  }
  await holdSchema(client);
  const reference = new Map<number, Map<string, TableRows>>();
  for (const account of accounts) {
    const tables = new Map<string, TableRows>();
    for (const [table, owns] of Object.entries(TABLES)) {
      const columns = await columnsOf(client, table);
      tables.set(table, { columns, lines: await copyLines(client, table, columns, owns.replace("$1", `${account}`)) });
    }
    reference.set(account, tables);
  }
  return reference;
}

/** A schema change, or a TRUNCATE, came between the snapshot and the locks: the snapshot can't be read any more. */
class SchemaMoved extends Error {
  override readonly name = "SchemaMoved";
}

/** Keeps the tables as they are, and sees that they still are what the snapshot shows: ALTER TABLE and TRUNCATE respect no snapshot. */
async function holdSchema(client: pg.ClientBase): Promise<void> {
  await client.query(`LOCK TABLE ${TABLE_NAMES.join(", ")} IN ACCESS SHARE MODE`);
  for (const table of TABLE_NAMES) {
    const { rowCount } = await client.query(
      "SELECT FROM pg_class WHERE oid = $1::regclass AND relfilenode <> pg_relation_filenode(oid)",
      [table],
    );
    const { fields } = await client.query(`SELECT * FROM ${table} LIMIT 0`);
    const now = fields.map(({ name }) => name).join();
    if (rowCount !== 0 || now !== (await columnsOf(client, table)).join()) throw new SchemaMoved(table);
  }
}

async function columnsOf(client: pg.ClientBase, table: string): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    "SELECT attname AS name FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    [table],
  );
  return rows.map(({ name }) => name);
}

async function copyLines(
  client: pg.ClientBase,
  table: string,
  columns: readonly string[],
  where: string,
): Promise<string[]> {
  const list = columns.map((column) => `t.${pg.escapeIdentifier(column)}`).join(", ");
  const pieces: Buffer[] = [];
  const copy = client.query(copyTo(`COPY (SELECT ${list} FROM ${table} t WHERE ${where}) TO STDOUT`));
  await pipeline(copy, async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) pieces.push(chunk);
  });
  return Buffer.concat(pieces).toString("utf8").split("\n").slice(0, -1).sort();
}

export function digestOf({ columns, lines }: TableRows): string {
  return createHash("sha256")
    .update(JSON.stringify([columns, lines]))
    .digest("hex");
}

const Slot = z.object({ consistent_point: z.string(), snapshot_name: z.string() });

/** A snapshot that shows exactly the transactions whose commit records lie before `lsn`, while everybody goes on writing. */
export interface ExactMoment {
  /** `X/X`, PostgreSQL's own text. */
  readonly lsn: string;
  readonly reference: Reference;
}

/**
 * PostgreSQL's own guarantee, the one its logical replicas start from: the snapshot that CREATE_REPLICATION_SLOT exports shows what
 * was committed before the slot's consistent point, and nothing else (manual, 54.4). A plain snapshot has no such LSN.
 */
export async function takeExactMoment(url: string, accounts: readonly number[]): Promise<ExactMoment> {
  for (;;) {
    try {
      return await readExactMoment(url, accounts);
    } catch (error) {
      if (!(error instanceof SchemaMoved)) throw error;
    }
  }
}

async function readExactMoment(url: string, accounts: readonly number[]): Promise<ExactMoment> {
  const walsender = new pg.Client({ connectionString: url, ...{ replication: "database" } });
  const reader = new pg.Client({ connectionString: url, application_name: "oracle reference" });
  await walsender.connect();
  try {
    await reader.connect();
    const made = await walsender.query(
      `CREATE_REPLICATION_SLOT oracle_${process.pid}_${Date.now()} TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')`,
    );
    const slot = Slot.parse(made.rows[0]);
    await reader.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    await reader.query(`SET TRANSACTION SNAPSHOT ${pg.escapeLiteral(slot.snapshot_name)}`);
    return { lsn: slot.consistent_point, reference: await readReference(reader, accounts) };
  } finally {
    await reader.end();
    await walsender.end();
  }
}
