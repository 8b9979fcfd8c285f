import { RecoveryError } from "../errors.ts";
import { quoteName } from "../postgres/identifiers.ts";
import { fromTable } from "../postgres/scope-sql.ts";
import { copyIn, copyOut, filterRows, forEachRow } from "./copy.ts";
import type { ComparedTable } from "./drift.ts";
import { columnList, type MeasuredTable } from "./measure.ts";
import { keyText } from "./row-hash.ts";
import { RowSieve } from "./row-sieve.ts";
import { liveRows, type RestoreSession } from "./session.ts";
import { createTemp, equalityOf, slot, slots, type TempRole, temp } from "./temp-tables.ts";

/**
 * Beyond this, the list of live rows that may differ is given up and everything is compared: so much has changed that looking
 * for the difference in parts saves nothing, and the list must not grow with the tenant.
 */
const MOST_PICKED = 300_000;

/**
 * Fills the temporary tables `target` and `live` with the rows that may differ: those of differing buckets where the table was
 * measured in buckets, those of the chosen keys where a request names some, else all of them.
 *
 * @throws RecoveryError `archive_damaged` (the archive is read to its end and proved), `invalid_request` (a key that is no value of its type)
 */
export async function loadCandidates(
  session: RestoreSession,
  compared: ComparedTable,
  measured: MeasuredTable,
): Promise<void> {
  await createTarget(session, compared);
  if (compared.chosen !== null) await loadChosen(session, compared, compared.chosen);
  else if (measured.sieve === null) await loadWhole(session, compared);
  else await loadDiffering(session, compared, measured.sieve);
  await analyze(session, compared, "target");
  await analyze(session, compared, "live");
}

/** Of the columns, only the key's matter to the plans; the row count comes along. Looking at all of them would cost more than the join. */
export async function analyze(session: RestoreSession, compared: ComparedTable, role: TempRole): Promise<void> {
  const columns = (compared.key ?? [0]).map(slot).join(", ");
  await session.client.query(`ANALYZE ${temp(compared, role)} (${columns})`);
}

async function createTarget(session: RestoreSession, compared: ComparedTable): Promise<void> {
  const columns = compared.columns.map((column, at) => `t.${quoteName(column.name)} AS ${slot(at)}`);
  await session.client.query(
    `${createTemp(compared, "target")} ON COMMIT DROP AS SELECT ${columns.join(", ")} FROM ${fromTable(session.catalog, compared.table.table)} AS t WITH NO DATA`,
  );
}

async function loadWhole(session: RestoreSession, compared: ComparedTable): Promise<void> {
  await loadTarget(session, compared, readArchive(session, compared));
  await createLive(session, compared, "");
}

async function loadDiffering(session: RestoreSession, compared: ComparedTable, live: RowSieve): Promise<void> {
  const archived = new RowSieve({ key: compared.key, expectedRows: compared.archived.fingerprint.rows });
  for await (const text of readArchive(session, compared)) archived.add(text);
  live.markDiffering(archived);
  const picked = await pickLive(session, compared, live);
  if (picked === null) return loadWhole(session, compared);
  await loadTarget(session, compared, siftRows(archived, readArchive(session, compared)));
  await loadPicked(session, compared, picked);
  await createLive(session, compared, "picked");
}

/** Where the live rows of marked buckets are, as COPY text of `picked`; null: too many. */
async function pickLive(session: RestoreSession, compared: ComparedTable, live: RowSieve): Promise<Buffer[] | null> {
  const places = live.markedPlaces(MOST_PICKED);
  if (places === null) return readPlaces(session, compared, live);
  if (places.length > MOST_PICKED) return null;
  return places.map(({ block, offset }) => Buffer.from(`${compared.table.oid}\t(${block},${offset})\n`));
}

/** Reads the live rows once more, only what their buckets depend on. */
async function readPlaces(session: RestoreSession, compared: ComparedTable, live: RowSieve): Promise<Buffer[] | null> {
  const keyColumns = compared.key?.flatMap((at) => compared.columns.slice(at, at + 1));
  const list = keyColumns?.map((column) => `t.${quoteName(column.name)}`).join(", ") ?? columnList(compared);
  const key = compared.key?.map((_, at) => at) ?? null;
  const picked: Buffer[] = [];
  const rows = copyOut(session.client, liveRows(session, compared, `t.tableoid, t.ctid, ${list}`));
  await forEachRow(rows, session.ctx.signal, (row) => {
    const identity = row.indexOf(TAB, row.indexOf(TAB) + 1);
    if (picked.length > MOST_PICKED || !live.isMarked(row.subarray(identity + 1), key)) return;
    const line = Buffer.from(row.subarray(0, identity + 1));
    line[identity] = NEWLINE;
    picked.push(line);
  });
  return picked.length > MOST_PICKED ? null : picked;
}

const TAB = 0x09;
const NEWLINE = 0x0a;

async function* siftRows(sieve: RowSieve, chunks: AsyncIterable<Buffer>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    const kept: Uint8Array[] = [];
    sieve.sift(chunk, (rows) => kept.push(rows.slice()));
    yield* kept;
  }
}

async function loadPicked(session: RestoreSession, compared: ComparedTable, picked: readonly Buffer[]): Promise<void> {
  const { client, ctx } = session;
  await client.query(`${createTemp(compared, "picked")} (row_table oid, row_id tid) ON COMMIT DROP`);
  await copyIn(client, temp(compared, "picked"), one(Buffer.concat(picked)), ctx.signal);
  await client.query(`ANALYZE ${temp(compared, "picked")}`);
}

async function loadChosen(
  session: RestoreSession,
  compared: ComparedTable,
  chosen: readonly (readonly string[])[],
): Promise<void> {
  const { client, ctx } = session;
  const key = compared.key ?? [];
  await createChosen(session, compared, key, chosen);
  const isChosen = (alias: string, column: (at: number) => string): string =>
    `EXISTS (SELECT FROM ${temp(compared, "chosen")} AS k WHERE ${key
      .map((at, n) => `k.k${n + 1} ${equalityOf(compared, at)} ${alias}.${column(at)}`)
      .join(" AND ")})`;

  if (key.every((at) => EQUAL_MEANS_SAME_TEXT.has(compared.columns[at]?.baseType ?? ""))) {
    const texts = new Set<string>();
    const positions = key.map((_, n) => n);
    await forEachRow(copyOut(client, `SELECT * FROM ${temp(compared, "chosen")}`), ctx.signal, (row) =>
      texts.add(keyText(row, positions)),
    );
    await loadTarget(
      session,
      compared,
      filterRows(readArchive(session, compared), (row) => texts.has(keyText(row, key))),
    );
  } else {
    await loadTarget(session, compared, readArchive(session, compared));
    await client.query(`DELETE FROM ${temp(compared, "target")} AS g WHERE NOT ${isChosen("g", slot)}`);
  }
  await createLive(session, compared, "", ` AND ${isChosen("t", (at) => quoteName(compared.columns[at]?.name ?? ""))}`);
}

/** Types in which two equal values always print alike, so keys can be looked up by their text. Not numeric (1.0 = 1.00), not citext. */
const EQUAL_MEANS_SAME_TEXT = new Set(["smallint", "integer", "bigint", "uuid", "text", "character varying", "date"]);

async function createChosen(
  session: RestoreSession,
  compared: ComparedTable,
  key: readonly number[],
  chosen: readonly (readonly string[])[],
): Promise<void> {
  const { client } = session;
  const texts = key.map((_, n) => `$${n + 1}::text[]`).join(", ");
  const names = key.map((_, n) => `k${n + 1}`).join(", ");
  const values = key.map((at, n) => `u.k${n + 1}::${compared.columns[at]?.baseType ?? "text"} AS k${n + 1}`);
  const columns = key.map((at, n) => `${slot(at)} AS k${n + 1}`).join(", ");
  await client.query(
    `${createTemp(compared, "chosen")} ON COMMIT DROP AS SELECT ${columns} FROM ${temp(compared, "target")} WITH NO DATA`,
  );
  try {
    await client.query(
      `INSERT INTO ${temp(compared, "chosen")} SELECT DISTINCT ${values.join(", ")} FROM unnest(${texts}) AS u (${names})`,
      key.map((_, n) => chosen.map((row) => row[n] ?? "")),
    );
  } catch (error) {
    if (!isDataException(error)) throw error;
    throw new RecoveryError("invalid_request", `A key chosen of ${compared.label} is not a value of the key's type.`, {
      table: compared.label,
      hint: "Give keys as PostgreSQL prints them.",
      cause: error,
    });
  }
}

/** SQLSTATE class 22. */
function isDataException(error: unknown): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "string" && error.code.startsWith("22");
}

async function createLive(
  session: RestoreSession,
  compared: ComparedTable,
  by: "" | "picked",
  and = "",
): Promise<void> {
  const values = compared.columns.map((column, at) => `t.${quoteName(column.name)} AS ${slot(at)}`);
  const list = `t.tableoid AS row_table, t.ctid AS row_id, t.xmin AS row_xmin, ${values.join(", ")}`;
  const picked = `EXISTS (SELECT FROM ${temp(compared, "picked")} AS p WHERE p.row_id = t.ctid AND p.row_table = t.tableoid)`;
  const condition = by === "picked" ? ` AND ${picked}` : and;
  await session.client.query(
    `${createTemp(compared, "live")} ON COMMIT DROP AS ${liveRows(session, compared, list, condition)}`,
  );
}

async function loadTarget(
  session: RestoreSession,
  compared: ComparedTable,
  chunks: AsyncIterable<Uint8Array>,
): Promise<void> {
  const columns = compared.columns.map((_, at) => slot(at)).join(", ");
  await copyIn(session.client, `${temp(compared, "target")} (${columns})`, chunks, session.ctx.signal);
}

function readArchive(session: RestoreSession, compared: ComparedTable): AsyncIterable<Buffer> {
  return session.archive.readTable(compared.archived.table, { signal: session.ctx.signal });
}

async function* one(chunk: Buffer): AsyncGenerator<Buffer> {
  if (chunk.length > 0) yield chunk;
}

/** The rows of a temporary table that an operation concerns, as a query over the archive's columns. */
export function imagesOf(
  compared: ComparedTable,
  role: "before" | "after",
  op: "insert" | "update" | "delete",
): string {
  return `SELECT ${slots(compared, "s")} FROM ${temp(compared, role)} AS s WHERE s.op = '${op}'`;
}
