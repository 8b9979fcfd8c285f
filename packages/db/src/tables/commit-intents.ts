import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { firstRow, Json, jsonb } from "../rows.ts";
import type { RunClaim } from "./run-row.ts";

/** What a restore writes down before its source commits; what became of it is the source's to say. */
export const CommitIntent = z.object({
  /** Of the source's transaction, decimal. */
  transactionId: z.string(),
  /** Of the source's history: after a failover a number may mean another transaction. */
  timeline: z.string(),
  sourceId: z.uuid(),
  /** The run's result, should it have been committed. */
  result: Json,
  /** Whether the run was to be cancelled: it is, if nothing was committed. */
  cancelled: z.boolean(),
});
export type CommitIntent = z.infer<typeof CommitIntent>;

/** Writes the intent down. False: the lease is lost, and nothing may be committed. */
export async function recordCommitIntent(q: Queryable, claim: RunClaim, intent: CommitIntent): Promise<boolean> {
  return await setIntent(q, claim, jsonb(intent));
}

/** The transaction was rolled back: the run is like any other again. False: the lease is lost. */
export async function clearCommitIntent(q: Queryable, claim: RunClaim): Promise<boolean> {
  return await setIntent(q, claim, null);
}

async function setIntent(q: Queryable, claim: RunClaim, intent: string | null): Promise<boolean> {
  const result = await q.query({
    text: `UPDATE runs r SET commit_intent = $3, updated_at = now()
WHERE r.id = $1 AND r.attempt_token = $2 AND r.status = 'running'`,
    values: [claim.runId, claim.attemptToken, intent],
  });
  return result.rowCount === 1;
}

/** The intent of an attempt that ended before anybody knew what became of it; null when there is none. */
export async function getCommitIntent(q: Queryable, runId: string): Promise<CommitIntent | null> {
  const result = await q.query({
    text: `SELECT commit_intent AS intent FROM runs WHERE id = $1`,
    values: [runId],
  });
  return firstRow(result, z.object({ intent: CommitIntent.nullable() }))?.intent ?? null;
}
