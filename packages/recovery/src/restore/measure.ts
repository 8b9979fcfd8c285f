import { equalFingerprints } from "../archive/fingerprint.ts";
import type { Fingerprint } from "../archive/manifest.ts";
import { quoteName } from "../postgres/identifiers.ts";
import { measureRows } from "./copy.ts";
import { type ComparedTable, storedColumns } from "./drift.ts";
import { readRows } from "./read-rows.ts";
import { RowSieve } from "./row-sieve.ts";
import { liveRows, type RestoreSession } from "./session.ts";

/** From this many bytes of COPY text on, finding the rows that differ is cheaper than loading all of them. */
const SIEVE_FROM_BYTES = 256 * 1024;

/** What the tenant's live rows of one table are, before anything is done. */
export interface MeasuredTable {
  /** Over the archive's columns. */
  readonly live: Fingerprint;
  /** The live rows by bucket, where the table is big enough to be looked at in parts. */
  readonly sieve: RowSieve | null;
  /** The same rows, columns and values as the archive. */
  readonly equal: boolean;
}

/** Reads the tenant's live rows of one table and sums them up; nothing of the archive is read. */
export async function measureLive(session: RestoreSession, compared: ComparedTable): Promise<MeasuredTable> {
  const { client } = session;
  const archived = compared.archived.fingerprint;
  const onRead = (rows: number, bytes: number): void => session.progress.reading(compared, rows, bytes);
  if (compared.archived.rawBytes < SIEVE_FROM_BYTES || compared.chosen !== null) {
    const query = liveRows(session, compared, columnList(compared));
    const live = await measureRows(client, query, onRead);
    return { live, sieve: null, equal: equalFingerprints(live, archived) };
  }
  // A place names a row only within one file, so a partitioned table's rows are not worth remembering.
  const places = compared.table.kind === "table";
  const sieve = new RowSieve({ key: compared.key, expectedRows: archived.rows, places });
  const list = places ? `t.ctid, ${columnList(compared)}` : columnList(compared);
  let bytes = 0;
  await readRows(client, liveRows(session, compared, list), (text) => {
    sieve.add(text);
    bytes += text.length;
    onRead(sieve.rows, bytes);
  });
  const live = sieve.fingerprint();
  return { live, sieve, equal: equalFingerprints(live, archived) };
}

/** The live rows over the archive's columns, as they are at this moment. */
export function remeasure(session: RestoreSession, compared: ComparedTable): Promise<Fingerprint> {
  return measureRows(session.client, liveRows(session, compared, columnList(compared)));
}

/** The live rows over all stored columns: what a backup taken now would say of them. */
export function measureStored(session: RestoreSession, compared: ComparedTable): Promise<Fingerprint> {
  const list = storedColumns(compared.table).map((column) => `t.${quoteName(column.name)}`);
  return measureRows(session.client, liveRows(session, compared, list.join(", ")));
}

/** Whether `remeasure` and `measureStored` read the same text. */
export function hasBackupColumns(compared: ComparedTable): boolean {
  const stored = storedColumns(compared.table);
  return stored.length === compared.columns.length && stored.every((column, at) => column === compared.columns[at]);
}

/** `t."id", t."Name"`: the archive's columns of the live table. */
export function columnList(compared: ComparedTable): string {
  return compared.columns.map((column) => `t.${quoteName(column.name)}`).join(", ");
}
