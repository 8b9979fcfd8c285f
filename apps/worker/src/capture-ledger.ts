import {
  type CaptureLease,
  getRememberedTables,
  insertGaps,
  type NewChangeGap,
  type NewChangeSegment,
  publishSegments,
  type Queryable,
  rememberTables,
} from "@rowback/db";
import {
  type CaptureTarget,
  DdlTrigger,
  type Gap,
  PublishedTable,
  putGap,
  type SeenTables,
  type WrittenSegment,
} from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";
import type { ObjectStore } from "@rowback/storage";
import { z } from "zod";

export interface CaptureLedgerOptions {
  readonly control: Queryable;
  readonly store: ObjectStore;
  readonly lease: CaptureLease;
  readonly epoch: number;
  readonly signal: AbortSignal;
  /** Told what was recorded. */
  readonly onPublished: (segments: readonly WrittenSegment[], coveredAt: bigint) => void;
}

/** The control database as where a capture tells what it made durable. */
export function captureLedger(options: CaptureLedgerOptions): CaptureTarget {
  const { control, store, lease, epoch, signal, onPublished } = options;
  const { sourceId } = lease;
  let seen: SeenTables | null | undefined;
  return {
    publish: async (segments, covered, told) => {
      const rows = segments.map(segmentRow);
      if (!(await publishSegments(control, lease, epoch, rows, covered, told))) throw leaseLost(sourceId);
      if (seen && told.length > 0) seen = { ...seen, tables: withTold(seen.tables, told) };
      onPublished(segments, covered.at);
    },
    declare: async (gaps) => {
      const rows: NewChangeGap[] = [];
      for (const gap of gaps) {
        rows.push(gapRow(sourceId, epoch, gap, await putGap(store, sourceId, epoch, gap, signal)));
      }
      await insertGaps(control, rows);
    },
    rememberedTables: async () => {
      seen ??= await readSeen(control, sourceId, epoch);
      return seen;
    },
    rememberTables: async (now) => {
      await rememberTables(control, { sourceId, epoch }, now, changesOf(seen ?? null, now));
      seen = now;
    },
  };
}

async function readSeen(control: Queryable, sourceId: string, epoch: number): Promise<SeenTables | null> {
  const remembered = await getRememberedTables(control, sourceId, epoch);
  if (remembered === null) return null;
  const tables = z.array(PublishedTable).parse(remembered.tables);
  return { ...remembered, tables, ddlTrigger: DdlTrigger.nullable().parse(remembered.ddlTrigger) };
}

function withTold(tables: readonly PublishedTable[], told: readonly PublishedTable[]): PublishedTable[] {
  const byOid = new Map([...tables, ...told].map((table) => [table.oid, table]));
  return [...byOid.values()];
}

/** A thousand tables are looked at every ten seconds, and hardly ever does one change. */
function changesOf(
  before: SeenTables | null,
  now: SeenTables,
): { readonly tables: readonly PublishedTable[]; readonly gone: readonly number[] } {
  const known = new Map(before?.tables.map((table) => [table.oid, JSON.stringify(table)]));
  const present = new Set(now.tables.map((table) => table.oid));
  return {
    tables: now.tables.filter((table) => known.get(table.oid) !== JSON.stringify(table)),
    gone: [...known.keys()].filter((oid) => !present.has(oid)),
  };
}

/** What the control database keeps of a segment. */
export function segmentRow({ key, bytes, index }: WrittenSegment): NewChangeSegment {
  const tenants = new Set<string>();
  for (const { tenant } of index.blocks) if (tenant !== null) tenants.add(tenant);
  return {
    firstLsn: index.first.lsn,
    lastLsn: index.last.lsn,
    piece: index.piece,
    objectKey: key,
    firstAt: BigInt(index.first.at),
    lastAt: BigInt(index.last.at),
    maxXid: BigInt(index.maxXid),
    continued: index.continued,
    continues: index.continues,
    transactions: index.transactions,
    changes: index.changes,
    rawBytes: index.rawBytes,
    storedBytes: bytes,
    hasShared: index.blocks.some((block) => block.tenant === null),
    hasAlterations: index.alterations > 0,
    tenantKeys: tenants,
  };
}

export function gapRow(sourceId: string, epoch: number, gap: Gap, objectKey: string): NewChangeGap {
  return {
    sourceId,
    epoch,
    reason: gap.reason,
    tenantKey: gap.tenantKey,
    schemaName: gap.table?.schema ?? null,
    tableName: gap.table?.name ?? null,
    beginsLsn: gap.beginsLsn,
    beginsAt: BigInt(gap.beginsAt),
    causeXid: gap.causeXid === null ? null : BigInt(gap.causeXid),
    objectKey,
  };
}

export function leaseLost(sourceId: string): RecoveryError {
  return new RecoveryError("lease_lost", "Another worker captures the source now.", { sourceId });
}
