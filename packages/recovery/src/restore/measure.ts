import { equalFingerprints } from "../archive/fingerprint.ts";
import type { Fingerprint } from "../archive/manifest.ts";
import { quoteName } from "../postgres/identifiers.ts";
import { copyOut, forEachRow, measureRows } from "./copy.ts";
import { type ComparedTable, storedColumns } from "./drift.ts";
import { RowBuckets } from "./row-buckets.ts";
import { liveRows, type RestoreSession } from "./session.ts";

/** From this many bytes of COPY text on, finding the rows that differ is cheaper than loading all of them. */
export const SPARSE_FROM_BYTES = 4 * 1024 * 1024;

/** What the tenant's live rows of one table are, before anything is done. */
export interface MeasuredTable {
  /** Over the archive's columns. */
  readonly live: Fingerprint;
  /** The live rows by bucket, where the table is big enough to be looked at in parts. */
  readonly buckets: RowBuckets | null;
  /** The same rows, columns and values as the archive. */
  readonly equal: boolean;
}

/** Reads the tenant's live rows of one table and sums them up; nothing of the archive is read. */
export async function measureLive(session: RestoreSession, compared: ComparedTable): Promise<MeasuredTable> {
  const { client, ctx } = session;
  const rows = liveRows(session, compared, columnList(compared));
  const archived = compared.archived.fingerprint;
  if (compared.archived.rawBytes < SPARSE_FROM_BYTES || compared.chosen !== null) {
    const live = await measureRows(client, rows, ctx.signal);
    return { live, buckets: null, equal: equalFingerprints(live, archived) };
  }
  const buckets = new RowBuckets(compared.key, archived.rows);
  await forEachRow(copyOut(client, rows), ctx.signal, (row) => buckets.add(row));
  const live = buckets.fingerprint();
  return { live, buckets, equal: equalFingerprints(live, archived) };
}

/** The live rows over the archive's columns, as they are at this moment. */
export function remeasure(session: RestoreSession, compared: ComparedTable): Promise<Fingerprint> {
  return measureRows(session.client, liveRows(session, compared, columnList(compared)), session.ctx.signal);
}

/** The live rows over all stored columns: what a backup taken now would say of them. */
export function measureStored(session: RestoreSession, compared: ComparedTable): Promise<Fingerprint> {
  const list = storedColumns(compared.table).map((column) => `t.${quoteName(column.name)}`);
  return measureRows(session.client, liveRows(session, compared, list.join(", ")), session.ctx.signal);
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
