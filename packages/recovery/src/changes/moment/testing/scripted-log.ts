import type { MemoryStore } from "../../../archive/testing/memory-store.ts";
import type { ChangeOp } from "../../log/change-lines.ts";
import type { Relation } from "../../log/segment-index.ts";
import { SegmentWriter } from "../../log/segment-writer.ts";
import type { SegmentPlace } from "../moment-log.ts";

/** One line of a scripted history, as the capture would write it. */
export interface ScriptedLine {
  /** Null: the shared part. */
  readonly tenant: string | null;
  readonly relation: Relation;
  readonly op: ChangeOp;
  readonly seq: number;
  /** COPY text of each field, in one character per byte. */
  readonly row: readonly string[];
  /** Of `M`. */
  readonly movedTo?: string;
}

export interface ScriptedTransaction {
  readonly lsn: bigint;
  readonly xid: bigint;
  readonly at: bigint;
  readonly lines: readonly ScriptedLine[];
}

export const SOURCE_ID = "33333333-3333-4333-8333-333333333333";

/** Stores segments of `perSegment` transactions each. */
export async function storeSegments(
  store: MemoryStore,
  transactions: readonly ScriptedTransaction[],
  perSegment = 3,
): Promise<SegmentPlace[]> {
  const places: SegmentPlace[] = [];
  for (let at = 0; at < transactions.length; at += perSegment) {
    const writer = new SegmentWriter({ sourceId: SOURCE_ID, epoch: 1, piece: 0, continued: false });
    for (const transaction of transactions.slice(at, at + perSegment)) addTransaction(writer, transaction);
    if (!writer.isEmpty) places.push(await writer.put(store, { continues: false }));
  }
  return places;
}

function addTransaction(writer: SegmentWriter, { lsn, xid, at, lines }: ScriptedTransaction): void {
  const transaction = { lsn: lsn.toString(16).padStart(16, "0"), xid: xid.toString(), at: at.toString() };
  for (const { row, ...line } of lines) {
    writer.add({ ...line, transaction, row: Buffer.from(row.join("\t"), "latin1") });
  }
}
