import { z } from "zod";
import { applySessionSettings } from "./session-settings.ts";
import { SnapshotCrew } from "./snapshot-crew.ts";
import { isLost, type Source, type SourceClient } from "./source.ts";
import { toRecoveryError } from "./source-error.ts";

export interface SnapshotInfo {
  /** `pg_current_snapshot()` as text. */
  readonly pgSnapshot: string;
  /** WAL position taken just before the snapshot: every change the snapshot does not show is still to come after it. */
  readonly lsn: string;
  /** WAL position read after the snapshot: whatever the snapshot shows was committed before it. */
  readonly endLsn: string;
  /** The source's clock, after the snapshot. */
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
  /**
   * Runs `fn` on a free connection of this snapshot; opens another up to the maximum, else waits.
   * `fn` must not fail halfway and leave a COPY unread: a connection that saw an error is not lent again.
   */
  run<T>(fn: (client: SourceClient) => Promise<T>): Promise<T>;
}

export interface SnapshotOptions {
  /** The most connections this snapshot may use, ≥ 1. With 1 nothing is exported. */
  readonly maxConnections: number;
  readonly signal: AbortSignal;
}

/**
 * Opens one REPEATABLE READ, READ ONLY snapshot, lends it to `fn`, and ends its transactions whatever happens.
 * Followers import the leader's snapshot (`pg_export_snapshot`, PostgreSQL manual 9.28.5) when there is work for them; where the
 * source has no connection to spare, the leader does the work alone.
 * Errors leave as RecoveryError.
 */
export function withSnapshot<T>(
  source: Source,
  { maxConnections, signal }: SnapshotOptions,
  fn: (snapshot: Snapshot) => Promise<T>,
): Promise<T> {
  return source.connect(
    async (leader) => {
      const { exported, ...info } = await begin(leader, maxConnections > 1);
      const crew = new SnapshotCrew({
        leader,
        maxConnections,
        classify: (error, client) =>
          toRecoveryError(error, { sourceId: source.id, signal, connectionLost: isLost(client) }),
        openFollower: (serve) => {
          if (exported === null) return null;
          return source.tryConnect((client) => follow(client, exported, serve), { signal });
        },
      });
      try {
        return await fn({ info, leader, run: (work) => crew.run(work) });
      } finally {
        await crew.dismiss();
        // After an error the connection is destroyed, and the transaction with it.
        if (leader.getTransactionStatus() === "T" && !signal.aborted) await leader.query("COMMIT");
      }
    },
    { signal },
  );
}

const Begun = z.object({
  pgSnapshot: z.string(),
  lsn: z.string(),
  endLsn: z.string(),
  at: z.date(),
  serverVersion: z.string(),
  serverVersionNumber: z.coerce.number().int(),
  encoding: z.string(),
  exported: z.string().nullable(),
});

const BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/**
 * One round trip. The WAL position is read in a transaction of its own before the snapshot is taken: read inside, it could
 * already be past a commit that the snapshot does not show. It travels to the second transaction in a setting of the session.
 */
async function begin(leader: SourceClient, exportIt: boolean): Promise<z.infer<typeof Begun>> {
  const results: unknown = await leader.query(`BEGIN READ ONLY;
    SELECT pg_catalog.set_config('rowback.lsn', (CASE WHEN pg_catalog.pg_is_in_recovery()
      THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END)::text, false);
    COMMIT;
    ${BEGIN};
    ${applySessionSettings("transaction")};
    SELECT pg_catalog.pg_current_snapshot()::text AS "pgSnapshot",
      pg_catalog.current_setting('rowback.lsn') AS lsn,
      (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
        ELSE pg_catalog.pg_current_wal_insert_lsn() END)::text AS "endLsn",
      pg_catalog.clock_timestamp() AS at,
      pg_catalog.current_setting('server_version') AS "serverVersion",
      pg_catalog.current_setting('server_version_num') AS "serverVersionNumber",
      pg_catalog.current_setting('server_encoding') AS encoding,
      ${exportIt ? "pg_catalog.pg_export_snapshot()" : "NULL"} AS exported`);
  const last = z
    .array(z.object({ rows: z.array(z.unknown()) }))
    .parse(results)
    .at(-1);
  return Begun.parse(last?.rows[0]);
}

async function follow(
  client: SourceClient,
  exported: string,
  serve: (client: SourceClient) => Promise<void>,
): Promise<void> {
  // SET TRANSACTION SNAPSHOT takes no parameter; the identifier is the server's own, like 00000003-0000001B-1.
  await client.query(
    `${BEGIN}; SET TRANSACTION SNAPSHOT ${client.escapeLiteral(exported)}; ${applySessionSettings("transaction")}`,
  );
  await serve(client);
  if (client.getTransactionStatus() === "T") await client.query("COMMIT");
}
