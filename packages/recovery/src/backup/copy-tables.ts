import type { BackupWriter } from "../archive/backup-writer.ts";
import type { LaneWriter, WrittenTable } from "../archive/lane-writer.ts";
import { RecoveryError } from "../errors.ts";
import type { Snapshot } from "../postgres/snapshot.ts";
import type { SourceClient } from "../postgres/source.ts";
import { toRecoveryError } from "../postgres/source-error.ts";
import { tableLabel } from "../postgres/tenancy.ts";
import { dealBatches } from "./copy-batches.ts";
import { type CopyStatement, copyOut } from "./copy-out.ts";
import type { BackupPlan, PlannedTable } from "./plan.ts";

/**
 * A second connection is worth its cost (fork of a backend, import of the snapshot) from about this many bytes of COPY text,
 * or this long. Most tenants never get there, and are done with one connection and one part.
 */
const SPILL_BYTES = 4 * 1_048_576;
const SPILL_MS = 2_000;

/** What `copyTables` tells while it works. */
export interface CopyObserver {
  /** Often. `done` once a table, at its end. */
  onTable(table: PlannedTable, seen: { readonly rows: number; readonly bytes: number; readonly done: boolean }): void;
}

export interface CopyTablesOptions {
  /** The most connections to read with. */
  readonly connections: number;
  /** Aborted, with the reason, when one connection fails: the others must not go on for a backup that can't be finished. */
  readonly stop: AbortController;
  readonly observer: CopyObserver;
}

/**
 * Copies all tables on one connection of the snapshot and, once there is enough to do, on more, side by side.
 * Everything is durable when this resolves. The result is in the order of the plan.
 */
export async function copyTables(
  snapshot: Snapshot,
  backup: BackupWriter,
  plan: Pick<BackupPlan, "tables" | "tenants">,
  options: CopyTablesOptions,
): Promise<WrittenTable[]> {
  const waiting = dealBatches(plan.tables, plan.tenants);
  const written = new Map<PlannedTable, WrittenTable>();
  const lanes: Promise<void>[] = [];
  const startedAt = performance.now();
  let finishedBytes = 0;

  const spill = (openBytes: number): void => {
    const worth = finishedBytes + openBytes > SPILL_BYTES || performance.now() - startedAt > SPILL_MS;
    if (worth && waiting.length > 0 && lanes.length < options.connections) startLane();
  };
  const observer: CopyObserver = {
    onTable(table, seen) {
      options.observer.onTable(table, seen);
      if (seen.done) finishedBytes += seen.bytes;
      spill(seen.done ? 0 : seen.bytes);
    },
  };
  const drain = async (client: SourceClient, at: At): Promise<void> => {
    const lane = backup.openLane();
    for (let batch = waiting.shift(); batch !== undefined; batch = waiting.shift()) {
      for (const [table, result] of await copyBatch(client, lane, batch, { observer, at })) written.set(table, result);
    }
    at.table = undefined;
    await lane.finish();
  };
  const startLane = (): void => {
    const at: At = { table: undefined };
    const lane = snapshot
      .run((client) => drain(client, at))
      .catch((error: unknown) => {
        throw toRecoveryError(error, at);
      });
    lane.catch((error: unknown) => options.stop.abort(error));
    lanes.push(lane);
  };

  startLane();
  for (const lane of lanes) await lane;
  return plan.tables.flatMap((table) => written.get(table) ?? []);
}

/** The table that a connection is reading, for the error if it fails. */
interface At {
  table: string | undefined;
}

async function copyBatch(
  client: SourceClient,
  lane: LaneWriter,
  batch: readonly PlannedTable[],
  { observer, at }: { readonly observer: CopyObserver; readonly at: At },
): Promise<[PlannedTable, WrittenTable][]> {
  const results: Promise<[PlannedTable, WrittenTable]>[] = [];
  const statements = batch.map((table): CopyStatement => {
    return {
      sql: table.copy,
      began() {
        at.table = tableLabel(table.source.table);
        lane.beginTable((rows, bytes) => observer.onTable(table, { rows, bytes, done: false }));
      },
      ended(sent) {
        const { rows, bytes, written } = lane.endTable();
        if (sent !== rows) throw new RecoveryError("source_error", `The source sent ${sent} rows, but ${rows} arrived`);
        observer.onTable(table, { rows, bytes, done: true });
        const result = written.then((value): [PlannedTable, WrittenTable] => [table, value]);
        result.catch(() => {});
        results.push(result);
      },
    };
  });
  at.table = batch[0] === undefined ? undefined : tableLabel(batch[0].source.table);
  await copyOut(client, lane, statements);
  return Promise.all(results);
}
