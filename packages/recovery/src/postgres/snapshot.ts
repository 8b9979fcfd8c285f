import type { Source, SourceClient } from "./source.ts";

export interface SnapshotInfo {
  /** `pg_current_snapshot()` as text. */
  readonly pgSnapshot: string;
  /** WAL position taken just before the snapshot: every change the snapshot does not show is still to come after it. */
  readonly lsn: string;
  /** The source's clock. */
  readonly at: Date;
  /** `18.4`, as `server_version` has it. */
  readonly serverVersion: string;
  /** `180004` */
  readonly serverVersionNumber: number;
  /** `server_encoding` */
  readonly encoding: string;
}

/** One moment of the source, seen alike by every connection of it. */
export interface Snapshot {
  readonly info: SnapshotInfo;
  /** The first connection; also one of those that `run` lends. */
  readonly leader: SourceClient;
  /** Runs `fn` on a free connection of this snapshot; opens another up to the maximum, else waits. */
  run<T>(fn: (client: SourceClient) => Promise<T>): Promise<T>;
}

export interface SnapshotOptions {
  /** The most connections this snapshot may use, ≥ 1. With 1 nothing is exported. */
  readonly maxConnections: number;
  readonly signal: AbortSignal;
}

/** Opens one REPEATABLE READ, READ ONLY snapshot, lends it to `fn`, and ends its transactions whatever happens. */
export function withSnapshot<T>(
  _source: Source,
  _options: SnapshotOptions,
  _fn: (snapshot: Snapshot) => Promise<T>,
): Promise<T> {
  throw new Error("not built yet");
}
