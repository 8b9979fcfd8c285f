import type { BackupWriter } from "../archive/backup-writer.ts";
import type { LaneWriter, WrittenTable } from "../archive/lane-writer.ts";
import { RecoveryError } from "../errors.ts";
import type { Snapshot } from "../postgres/snapshot.ts";
import type { SourceClient } from "../postgres/source.ts";
import { toRecoveryError } from "../postgres/source-error.ts";
import { tableLabel } from "../postgres/tenancy.ts";
import { copyOut } from "./copy-out.ts";
import type { PlannedTable } from "./plan.ts";

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

/**
 * Copies all tables, the largest first, on one connection of the snapshot and, once there is enough to do, on more, side by side.
 * Everything is durable when this resolves. The result is in the order of `tables`.
 */
export async function copyTables(
  snapshot: Snapshot,
  backup: BackupWriter,
  tables: readonly PlannedTable[],
  options: { readonly connections: number; readonly stop: AbortController; readonly observer: CopyObserver },
): Promise<WrittenTable[]> {
  const waiting = tables.toSorted((a, b) => b.source.bytes - a.source.bytes);
  const written = new Map<PlannedTable, WrittenTable>();
  const lanes: Promise<void>[] = [];
  const startedAt = performance.now();
  let finishedBytes = 0;

  const startLane = (): void => {
    const at: { table: string | undefined } = { table: undefined };
    const lane = snapshot
      .run((client) => drain(client, at))
      .catch((error: unknown) => {
        throw toRecoveryError(error, at);
      });
    // The others must not go on reading for a backup that can't be finished.
    lane.catch((error: unknown) => options.stop.abort(error));
    lanes.push(lane);
  };
  const spill = (openBytes: number): void => {
    const worth = finishedBytes + openBytes > SPILL_BYTES || performance.now() - startedAt > SPILL_MS;
    if (worth && waiting.length > 0 && lanes.length < options.connections) startLane();
  };
  const drain = async (client: SourceClient, at: { table: string | undefined }): Promise<void> => {
    const lane = backup.openLane();
    for (let table = waiting.shift(); table !== undefined; table = waiting.shift()) {
      const current = table;
      at.table = tableLabel(table.source.table);
      const result = await copyTable(client, lane, current, (rows, bytes) => {
        options.observer.onTable(current, { rows, bytes, done: false });
        spill(bytes);
      });
      finishedBytes += result.rawBytes;
      written.set(current, result);
      options.observer.onTable(current, { rows: result.fingerprint.rows, bytes: result.rawBytes, done: true });
      spill(0);
    }
    at.table = undefined;
    await lane.finish();
  };

  startLane();
  for (const lane of lanes) await lane;
  return tables.flatMap((table) => written.get(table) ?? []);
}

async function copyTable(
  client: SourceClient,
  lane: LaneWriter,
  table: PlannedTable,
  onBlock: (rows: number, bytes: number) => void,
): Promise<WrittenTable> {
  lane.beginTable(onBlock);
  const sent = await copyOut(client, table.copy, lane);
  const written = await lane.endTable();
  const arrived = written.fingerprint.rows;
  if (sent !== arrived) throw new RecoveryError("source_error", `The source sent ${sent} rows, but ${arrived} arrived`);
  return written;
}
