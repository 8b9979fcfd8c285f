import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { RecoveryError } from "../errors.ts";
import type { Source, SourceClient } from "../postgres/source.ts";

/** A transaction of the source by which its commit can be asked for later, from any session. */
export const CommitMark = z.object({
  /** `pg_current_xact_id()`, decimal. */
  transactionId: z.string(),
  /** Of the server's history, as in the names of its WAL files: after a failover a number may mean another transaction. */
  timeline: z.string(),
});
export type CommitMark = z.infer<typeof CommitMark>;

const TIMELINE = "substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) AS timeline";
const ASK_AGAIN_MS = 100;

/** The mark of the transaction that the client is in. */
export async function readCommitMark(client: SourceClient): Promise<CommitMark> {
  const { rows } = await client.query(`SELECT pg_catalog.pg_current_xact_id()::text AS "transactionId", ${TIMELINE}`);
  return CommitMark.parse(rows[0]);
}

/** `unknown`: the server has another history now, or has forgotten. */
export type TransactionFate = "committed" | "rolled_back" | "unknown";

const Status = z.object({ status: z.string().nullable(), timeline: z.string() });

/**
 * What became of a transaction whose session nobody hears of any more (`pg_xact_status`, PostgreSQL manual 9.27.7). One that
 * is still open is ended: its worker lost the run, and must not commit after somebody else has looked.
 *
 * @throws RecoveryError `source_*`, `cancelled`
 */
export function settleTransaction(source: Source, mark: CommitMark, signal: AbortSignal): Promise<TransactionFate> {
  return source.connect(
    async (client) => {
      for (;;) {
        signal.throwIfAborted();
        const { status, timeline } = await statusOf(client, mark);
        if (timeline !== mark.timeline) return "unknown";
        if (status === "committed") return "committed";
        if (status === "aborted") return "rolled_back";
        if (status !== "in progress") return "unknown";
        await client.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid = $1::xid8::xid", [
          mark.transactionId,
        ]);
        await delay(ASK_AGAIN_MS, undefined, { signal });
      }
    },
    { signal },
  );
}

async function statusOf(client: SourceClient, { transactionId }: CommitMark): Promise<z.infer<typeof Status>> {
  const { rows } = await client.query(
    // A number that this server has not come to yet is refused with an error: its history is not the one that was written down.
    `SELECT CASE WHEN $1::xid8 < pg_catalog.pg_current_xact_id()
       THEN pg_catalog.pg_xact_status($1::xid8) END AS status, ${TIMELINE}`,
    [transactionId],
  );
  const status = Status.safeParse(rows[0]);
  if (!status.success)
    throw new RecoveryError("internal", "The source's answer about a transaction was not understood.");
  return status.data;
}
