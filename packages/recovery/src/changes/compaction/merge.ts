import type { ObjectStore } from "@rowback/storage";
import { tableLabel } from "../../postgres/tenancy.ts";
import { type ChangeLine, parseLines } from "../log/change-lines.ts";
import type { Relation, SegmentBlock } from "../log/segment-index.ts";
import { openSegment, readBlocks } from "../log/segment-reader.ts";
import { SegmentWriter, type WrittenSegment } from "../log/segment-writer.ts";

export interface MergeRequest {
  readonly sourceId: string;
  readonly epoch: number;
  /** Neighbours of whole transactions, in commit order. */
  readonly segments: readonly { readonly objectKey: string; readonly storedBytes: number }[];
  readonly signal: AbortSignal;
}

interface PlacedLine {
  readonly line: ChangeLine;
  readonly block: SegmentBlock;
}

/**
 * Writes the lines of several segments into one, the lines of each tenant together. The old ones stay: whoever records the new one
 * retires them. A crash leaves a wider segment beside those it holds.
 * @throws RecoveryError `change_log_damaged`; StorageError; the signal's reason
 */
export async function mergeSegments(store: ObjectStore, request: MergeRequest): Promise<WrittenSegment> {
  const { sourceId, epoch, segments, signal } = request;
  const writer = new SegmentWriter({ sourceId, epoch, piece: 0, continued: false });
  const current = new Map<string, { readonly text: string; readonly relation: Relation }>();
  for (const { objectKey, storedBytes } of segments) {
    const segment = await openSegment(store, objectKey, storedBytes, { signal });
    const texts = segment.index.relations.map((relation) => JSON.stringify(relation));
    // The same object for as long as the table stays the same: the merged index lists it once. A definition that comes back after
    // another is listed again: a reader takes a table's definitions one after the other.
    const relationOf = (position: number): Relation | undefined => {
      const [relation, text] = [segment.index.relations[position], texts[position]];
      if (relation === undefined || text === undefined) return undefined;
      const label = tableLabel(relation.table);
      const known = current.get(label);
      if (known?.text === text) return known.relation;
      const copy = { ...relation };
      current.set(label, { text, relation: copy });
      return copy;
    };
    const lines: PlacedLine[] = [];
    for await (const { block, text } of readBlocks(store, segment, segment.index.blocks, { signal })) {
      for (const line of parseLines(text)) lines.push({ line, block });
    }
    for (const { line, block } of lines.toSorted(inCommitOrder)) {
      const relation = relationOf(block.relation);
      if (relation === undefined) throw new RangeError(`segment ${objectKey} names a relation that it does not list`);
      const { transaction, op, seq, row, tenant: movedTo } = line;
      const change = { tenant: block.tenant, relation, transaction, op, seq, row };
      writer.add(movedTo === null ? change : { ...change, movedTo });
    }
  }
  return await writer.put(store, { continues: false, signal });
}

/** The two lines of an update have one number and keep their order: sorting is stable. */
function inCommitOrder(a: PlacedLine, b: PlacedLine): number {
  const [left, right] = [a.line.transaction.lsn, b.line.transaction.lsn];
  if (left !== right) return left < right ? -1 : 1;
  return a.line.seq - b.line.seq;
}
