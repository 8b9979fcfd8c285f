import type { BackupArchive } from "../../archive/backup-reader.ts";
import type { LaneWriter, WrittenTable } from "../../archive/lane-writer.ts";
import { wholeRows } from "../../changes/moment/fold-table.ts";
import type { RowMapper } from "../../changes/moment/schema-map.ts";
import { RecoveryError } from "../../errors.ts";
import type { TableName } from "../../postgres/tenancy.ts";

/** The type byte of a CopyData message and its length (PostgreSQL manual, 55.7 "Message Formats"). */
const MESSAGE_HEADER = 5;
const COPY_DATA = 0x64;
const NEWLINE = 0x0a;

export interface WriteRowsOptions {
  /** Null: the archive has no such table, so it is empty. */
  readonly table: TableName | null;
  /** Rows of the archive over the columns that are stored. */
  readonly map: RowMapper;
  readonly onBlock: (rows: number, rawBytes: number) => void;
  readonly signal: AbortSignal;
}

/** Writes a table of one archive into another. @throws RecoveryError as `readTable`; `quota_exceeded`, StorageError */
export async function writeRows(
  lane: LaneWriter,
  archive: BackupArchive,
  { table, map, onBlock, signal }: WriteRowsOptions,
): Promise<WrittenTable> {
  lane.beginTable(onBlock);
  if (table !== null) {
    for await (const chunk of wholeRows(archive.readTable(table, { signal }))) {
      signal.throwIfAborted();
      await give(lane, copyData(map === null ? chunk : mapped(chunk, map)));
    }
  }
  return await lane.endTable().written;
}

async function give(lane: LaneWriter, messages: Buffer): Promise<void> {
  let taken = lane.take(messages);
  while (taken === "busy") {
    await lane.ready();
    taken = lane.proceed();
  }
  if (taken !== "all") throw new RecoveryError("internal", "A lane met something else than rows");
}

/** Rows as a server would send them, one message each: what a lane takes. */
function copyData(rows: Buffer): Buffer {
  let count = 0;
  for (let at = rows.indexOf(NEWLINE); at !== -1; at = rows.indexOf(NEWLINE, at + 1)) count += 1;
  const messages = Buffer.allocUnsafe(rows.length + count * MESSAGE_HEADER);
  let to = 0;
  for (let start = 0; start < rows.length; ) {
    const end = rows.indexOf(NEWLINE, start) + 1;
    messages[to] = COPY_DATA;
    messages.writeUInt32BE(4 + end - start, to + 1);
    to += MESSAGE_HEADER + rows.copy(messages, to + MESSAGE_HEADER, start, end);
    start = end;
  }
  return messages;
}

function mapped(rows: Buffer, map: NonNullable<RowMapper>): Buffer {
  const lines = rows.toString("latin1").split("\n").slice(0, -1);
  return Buffer.from(lines.map((line) => `${map(line.split("\t")).join("\t")}\n`).join(""), "latin1");
}
