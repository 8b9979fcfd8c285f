import type { ObjectStore } from "@rowback/storage";
import type { BackupWriter } from "../../archive/backup-writer.ts";
import type { Change } from "../../changes/log/change-lines.ts";
import type { Relation, Transaction as WrittenTransaction } from "../../changes/log/segment-index.ts";
import { SegmentWriter } from "../../changes/log/segment-writer.ts";
import type { Transaction } from "../../changes/moment/change-span.ts";
import { compareChanges } from "../../changes/moment/merge-changes.ts";
import type { LoggedTableLine, TableChanges } from "../../changes/moment/moment-log.ts";
import { tableLabel } from "../../postgres/tenancy.ts";

/** Bytes of lines that are gathered in memory for a part. */
export const PART_BYTES = 16 * 1_048_576;

export interface WriteChangesOptions {
  readonly store: ObjectStore;
  readonly sourceId: string;
  readonly tenantKey: string;
  readonly signal: AbortSignal;
  /** PART_BYTES unless told. */
  readonly partBytes?: number | undefined;
}

/**
 * Writes a tenant's changes, table by table, into parts of a backup: segments of the change log's format that hold nobody else's blocks. Memory
 * holds one part.
 * @throws RecoveryError `quota_exceeded`, `change_log_damaged`; StorageError; the signal's reason
 */
export async function writeChanges(
  backup: BackupWriter,
  changes: TableChanges,
  { store, sourceId, tenantKey, signal, partBytes = PART_BYTES }: WriteChangesOptions,
): Promise<{ readonly count: number; readonly rawBytes: number }> {
  let [count, rawBytes, piece] = [0, 0, 0];
  const begin = (): SegmentWriter => new SegmentWriter({ sourceId, epoch: 0, piece, continued: false });
  let writer = begin();
  const end = async (): Promise<void> => {
    if (writer.isEmpty) return;
    rawBytes += writer.rawBytes;
    await backup.writePart((key) => writer.put(store, { continues: false, key, signal }));
    piece += 1;
    writer = begin();
  };
  for (const table of changes.tables) {
    let last: LoggedTableLine | null = null;
    let relation: Relation | null = null;
    for await (const batch of changes.lines(tableLabel(table))) {
      signal.throwIfAborted();
      for (const logged of batch) {
        if (!logged.included) continue;
        // What has one number stays in one part: an update with the row before it, and with the move it comes with.
        if (writer.rawBytes >= partBytes && (last === null || compareChanges(last, logged) !== 0)) await end();
        // A definition that comes back after another is listed again: a reader takes a table's definitions one after the other.
        if (relation === null || last?.relation !== logged.relation) relation = { ...logged.relation };
        for (const line of linesOf(logged, relation, tenantKey)) writer.add(line);
        if (logged.change.op !== "altered") count += 1;
        last = logged;
      }
    }
  }
  await end();
  return { count, rawBytes };
}

const OPS = { insert: "I", update: "U", delete: "D", moved: "M", truncate: "X", altered: "A" } as const;

function linesOf({ change, shared }: LoggedTableLine, relation: Relation, tenantKey: string): Change[] {
  const { op, seq, old, row } = change;
  const line = { tenant: shared ? null : tenantKey, relation, transaction: textOf(change.transaction), seq };
  const written: Change = { ...line, op: OPS[op], row: bytesOf(row) };
  // Another tenant's key is not ours to keep: that the row is not ours any more is all that counts.
  if (op === "moved") return [{ ...written, movedTo: change.tenant === tenantKey ? tenantKey : "" }];
  return old === null ? [written] : [{ ...line, op: "O", row: bytesOf(old) }, written];
}

function bytesOf(row: readonly string[]): Buffer {
  return Buffer.from(row.join("\t"), "latin1");
}

function textOf({ lsn, xid, at }: Transaction): WrittenTransaction {
  return { lsn: lsn.toString(16).padStart(16, "0"), xid: xid.toString(), at: at.toString() };
}
