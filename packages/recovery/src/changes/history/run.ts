import type { BackupArchive } from "../../archive/backup-reader.ts";
import type { ManifestTable } from "../../archive/manifest.ts";
import { RecoveryError } from "../../errors.ts";
import { toRecoveryError } from "../../postgres/source-error.ts";
import { tableLabel } from "../../postgres/tenancy.ts";
import { wholeRows } from "../moment/fold-table.ts";
import { isoOfMicros } from "../moment/micros.ts";
import { changesOf, type LoggedTableChange } from "../moment/moment-log.ts";
import { type MomentContext, type MomentRequest, openMomentLog } from "../moment/open-moment.ts";
import { type RowValues, RowVersions, valuesOf } from "./row-versions.ts";

/** Longer values are cut, and end in `…`: a page of versions has to fit into an answer. */
const MOST_CHARACTERS = 10_000;

export interface HistoryRequest extends Omit<MomentRequest, "limit" | "mostHeldBytes"> {
  /** `schema.table` */
  readonly table: string;
  /** Values of the key's columns, in its order, as PostgreSQL prints them. */
  readonly key: readonly string[];
  /** The most versions of a page. */
  readonly limit: number;
  /** `next` of the page before. */
  readonly after: string | null;
}

export interface HistoryVersion {
  readonly operation: "base" | "insert" | "update" | "delete" | "truncate" | "gone";
  readonly at: string;
  readonly transaction: string | null;
  readonly lsn: string | null;
  readonly row: Record<string, string | null> | null;
  readonly changed: string[];
}

export interface RowHistory {
  readonly table: string;
  readonly key: string[];
  readonly versions: HistoryVersion[];
  readonly next: string | null;
}

/**
 * Every version of one row of a tenant that the base and the log behind it know of, oldest first.
 * @throws RecoveryError `unknown_table`, `invalid_request` (a table without a key, a key of another width), and as `openMoment`
 */
export async function readHistory(ctx: MomentContext, request: HistoryRequest): Promise<RowHistory> {
  const { base, log } = await openMomentLog(ctx, { ...request, limit: { kind: "lsn", lsn: "f".repeat(16) } });
  try {
    const table = tableOf(base, request);
    const { label, keyColumns } = table;
    const row = await findRow(base, table.entry, keyColumns, request.key, ctx.signal);
    const page = new Page(request);
    if (row !== null)
      page.add("", {
        operation: "base",
        at: baseTime(base),
        transaction: null,
        lsn: null,
        row: imageOf(row),
        changed: [],
      });
    const versions = new RowVersions({ keyColumns, key: request.key, tenantKey: request.tenantKey, row });
    for await (const batch of changesOf(log, label)) {
      for (const change of batch) {
        const version = versions.next(change);
        if (version === null) continue;
        page.add(cursorOf(change), {
          ...version,
          ...placeOf(change),
          row: imageOf(version.row),
          changed: [...version.changed],
        });
        if (page.isFull) return page.result(label);
      }
    }
    return page.result(label);
  } catch (error) {
    throw toRecoveryError(error, { tenantId: request.tenantId, signal: ctx.signal });
  }
}

/** Collects the versions behind the cursor, and one more to know that there is another page. */
class Page {
  readonly #request: HistoryRequest;
  readonly #versions: { readonly cursor: string; readonly version: HistoryVersion }[] = [];

  constructor(request: HistoryRequest) {
    this.#request = request;
  }

  get isFull(): boolean {
    return this.#versions.length > this.#request.limit;
  }

  add(cursor: string, version: HistoryVersion): void {
    if (this.#request.after === null || cursor > this.#request.after) this.#versions.push({ cursor, version });
  }

  result(table: string): RowHistory {
    const { limit, key } = this.#request;
    const page = this.#versions.slice(0, limit);
    const next = this.isFull ? (page.at(-1)?.cursor ?? null) : null;
    return { table, key: [...key], versions: page.map(({ version }) => version), next };
  }
}

/** The order of texts is that of changes. */
function cursorOf({ change }: LoggedTableChange): string {
  return `${change.transaction.lsn.toString(16).padStart(16, "0")}-${change.seq.toString().padStart(12, "0")}`;
}

function placeOf({ change }: LoggedTableChange): Pick<HistoryVersion, "at" | "transaction" | "lsn"> {
  const { at, xid, lsn } = change.transaction;
  return { at: isoOfMicros(at), transaction: xid.toString(), lsn: lsn.toString(16).padStart(16, "0") };
}

function baseTime({ manifest }: BackupArchive): string {
  return isoOfMicros(BigInt(Date.parse(manifest.snapshot.at)) * 1_000n);
}

function tableOf(
  { manifest }: BackupArchive,
  { table, key }: HistoryRequest,
): { readonly label: string; readonly entry: ManifestTable; readonly keyColumns: readonly string[] } {
  const entry = manifest.tables.find((candidate) => tableLabel(candidate.table) === table);
  if (entry === undefined) throw new RecoveryError("unknown_table", `The base holds no table ${table}.`, { table });
  if (entry.key === null) {
    throw new RecoveryError("invalid_request", `${table} has no key, so no row of it can be followed.`, { table });
  }
  if (entry.key.length !== key.length) {
    throw new RecoveryError(
      "invalid_request",
      `A key of ${table} has ${entry.key.length} values: ${entry.key.join(", ")}.`,
      {
        table,
        hint: "Give one key for each column, in this order.",
      },
    );
  }
  return { label: table, entry, keyColumns: entry.key };
}

async function findRow(
  base: BackupArchive,
  entry: ManifestTable,
  keyColumns: readonly string[],
  key: readonly string[],
  signal: AbortSignal,
): Promise<RowValues | null> {
  const names = entry.columns.map(({ name }) => name);
  let found: RowValues | null = null;
  // To the end, which alone proves what was read.
  for await (const chunk of wholeRows(base.readTable(entry.table, { signal }))) {
    for (let start = 0; start < chunk.length && found === null; ) {
      const end = chunk.indexOf(0x0a, start);
      const values = valuesOf(names, chunk.toString("latin1", start, end).split("\t"));
      if (keyColumns.every((name, at) => values.get(name) === key[at])) found = values;
      start = end + 1;
    }
  }
  return found;
}

function imageOf(row: RowValues | null): Record<string, string | null> | null {
  if (row === null) return null;
  return Object.fromEntries(
    [...row].map(([name, value]) => [
      name,
      value !== null && value.length > MOST_CHARACTERS ? `${value.slice(0, MOST_CHARACTERS)}…` : value,
    ]),
  );
}
