import type { BackupArchive } from "../../archive/backup-reader.ts";
import { CountedChanges } from "./counted-changes.ts";
import { KeyedChanges } from "./keyed-changes.ts";
import { changesOf, type LoggedTableChange, type TableChanges } from "./moment-log.ts";
import { type AddedRow, type FoldedChanges, movedRow, type RowChange } from "./row-change.ts";
import type { RowMapper } from "./schema-map.ts";
import type { TableMoment } from "./table-moment.ts";

/** What is handed on at a time of rows that the base does not have. */
const CHUNK_BYTES = 262_144;
const NEWLINE = 0x0a;

export interface FoldOptions {
  readonly log: TableChanges;
  readonly base: BackupArchive;
  /** The tenant's key. */
  readonly tenant: string;
  /** Which of these rows refer to a row of the tenant's, at the moment. */
  readonly claim: (moment: TableMoment, rows: readonly string[]) => Promise<readonly boolean[]>;
  readonly signal: AbortSignal | undefined;
}

/**
 * The rows of a table at a moment, as COPY text in chunks of whole rows: the base's rows with the changes folded in. The base and the log are
 * read once for each pass; what is held at once is the changes of one pass, and one row of the base.
 *
 * @throws RecoveryError `change_log_damaged`, `archive_damaged`, `store_*`
 */
export async function* foldTable(moment: TableMoment, options: FoldOptions): AsyncGenerator<Buffer> {
  for (let number = 0; number < moment.passes; number += 1) {
    const changes = await holdChanges(moment, number, options);
    if (moment.base !== null && !changes.truncated) {
      const rows = options.base.readTable(moment.base.table, { signal: options.signal });
      yield* foldRows(rows, changes, moment.mapBase);
    }
    yield* addRows(moment, changes.added(), options);
    if (changes.crossed && moment.isReferredTo)
      throw movedRow(moment.label, "rows of other tables went with it without being written");
  }
}

async function holdChanges(moment: TableMoment, number: number, { log, tenant }: FoldOptions): Promise<FoldedChanges> {
  const { label, heldBy, passes, linked } = moment;
  const pass = { number, passes, linked };
  const changes =
    heldBy === null ? new CountedChanges(label, pass) : new KeyedChanges({ table: label, key: heldBy, pass });
  for await (const batch of changesOf(log, label)) {
    for (const logged of batch) changes.apply(rowChange(logged, moment.mapLine(logged.relation), tenant));
  }
  return changes;
}

function rowChange({ change, shared }: LoggedTableChange, map: RowMapper, tenant: string): RowChange {
  const { lsn } = change.transaction;
  const row = map === null ? change.row : map(change.row);
  switch (change.op) {
    case "insert":
    case "delete":
      return { op: change.op, row, shared, lsn };
    case "update": {
      const old = change.old === null || map === null ? change.old : map(change.old);
      return { op: "update", row, old, shared, lsn };
    }
    case "moved":
      return { op: "moved", row, toUs: change.tenant === tenant, lsn };
    case "truncate":
      return { op: "truncate", lsn };
  }
}

/** What stays is handed on in runs of whole rows; a row that changed stands where the old one stood. */
async function* foldRows(
  chunks: AsyncIterable<Buffer>,
  changes: FoldedChanges,
  map: RowMapper,
): AsyncGenerator<Buffer> {
  for await (const chunk of wholeRows(chunks)) {
    const pieces: Buffer[] = [];
    let runFrom = 0;
    for (let start = 0; start < chunk.length; ) {
      const end = chunk.indexOf(NEWLINE, start);
      const text = chunk.toString("latin1", start, end);
      const row = map === null ? text : map(text.split("\t")).join("\t");
      const fate = changes.meet(row);
      if (fate !== "kept" || map !== null) {
        if (start > runFrom) pieces.push(chunk.subarray(runFrom, start));
        runFrom = end + 1;
        if (fate === "kept") pieces.push(line(row));
        else if (typeof fate === "object") pieces.push(line(fate.row));
      }
      start = end + 1;
    }
    if (chunk.length > runFrom) pieces.push(chunk.subarray(runFrom));
    const [only, ...others] = pieces;
    if (only !== undefined) yield others.length === 0 ? only : Buffer.concat(pieces);
  }
}

async function* addRows(moment: TableMoment, rows: Iterable<AddedRow>, { claim }: FoldOptions): AsyncGenerator<Buffer> {
  const claimed: string[] = [];
  let chunk: string[] = [];
  let bytes = 0;
  for (const added of rows) {
    if (added.claimed) {
      claimed.push(added.row);
      continue;
    }
    chunk.push(added.row, "\n");
    bytes += added.row.length + 1;
    if (bytes < CHUNK_BYTES) continue;
    yield Buffer.from(chunk.join(""), "latin1");
    chunk = [];
    bytes = 0;
  }
  if (claimed.length > 0) {
    const ours = await claim(moment, claimed);
    for (const [at, row] of claimed.entries()) if (ours[at] === true) chunk.push(row, "\n");
  }
  if (chunk.length > 0) yield Buffer.from(chunk.join(""), "latin1");
}

/** The archive hands a row that is longer than 1 MiB over in pieces; here it is one. */
export async function* wholeRows(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let begun: Buffer[] = [];
  for await (const chunk of chunks) {
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    if (end > 0) {
      yield begun.length === 0 ? chunk.subarray(0, end) : Buffer.concat([...begun, chunk.subarray(0, end)]);
      begun = [];
    }
    if (end < chunk.length) begun.push(chunk.subarray(end));
  }
}

function line(row: string): Buffer {
  return Buffer.from(`${row}\n`, "latin1");
}
