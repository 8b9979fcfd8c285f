import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { allRows } from "../rows.ts";
import type { TenantClient } from "../tenant-context.ts";
import { WORKER_USER } from "./audit-log.ts";
import { getRestore, type Restore } from "./restores.ts";

/** What a second person says to a restore that waits. */
export interface Decision {
  readonly runId: string;
  readonly decision: "approved" | "rejected";
  readonly decidedBy: string;
  readonly comment: string | null;
}

export type DecisionResult =
  /** Approved, it is queued now: enqueue it. Rejected, it is cancelled. */
  | { readonly outcome: "decided"; readonly restore: Restore }
  /** Who asks for a restore can't be who agrees to it. */
  | { readonly outcome: "own"; readonly restore: Restore }
  | { readonly outcome: "expired"; readonly restore: Restore }
  /** It needs no approval, was decided before, or has ended. */
  | { readonly outcome: "not_waiting"; readonly restore: Restore };

/** Decides a restore that awaits approval; null when the tenant has no such restore. Of several at once one decides. */
export async function decideRestore(client: TenantClient, asked: Decision): Promise<DecisionResult | null> {
  // The run's row before the restore's, as the sweeper goes: the other way round the two would wait for each other.
  await client.query({
    text: "SELECT FROM runs WHERE id = $1 AND status = 'awaiting_approval' FOR UPDATE",
    values: [asked.runId],
  });
  const restore = await getRestore(client, asked.runId);
  if (restore === null || restore.kind !== "restore") return null;
  if (restore.status !== "awaiting_approval") return { outcome: "not_waiting", restore };
  if (restore.requestedBy === asked.decidedBy) return { outcome: "own", restore };
  const noted = await client.query({
    text: `UPDATE restore_jobs SET approval_decision = $2, approval_decided_by = $3, approval_decided_at = clock_timestamp(), approval_comment = $4
WHERE run_id = $1 AND approval_decision IS NULL AND approval_expires_at > clock_timestamp()`,
    values: [asked.runId, asked.decision, asked.decidedBy, asked.comment],
  });
  if (noted.rowCount !== 1) return { outcome: "expired", restore };
  await client.query({
    text:
      asked.decision === "approved"
        ? "UPDATE runs SET status = 'queued', available_at = now(), updated_at = now() WHERE id = $1"
        : "UPDATE runs SET status = 'cancelled', cancel_requested_at = now(), finished_at = now(), updated_at = now() WHERE id = $1",
    values: [asked.runId],
  });
  return { outcome: "decided", restore: (await getRestore(client, asked.runId)) ?? restore };
}

const Expired = z.object({ runId: z.uuid(), tenantId: z.uuid() });

/** Cancels up to `limit` restores that nobody agreed to in time. Two sweepers at once share the work. System only. */
export async function expireRestores(q: Queryable, limit: number): Promise<z.infer<typeof Expired>[]> {
  const result = await q.query({
    text: `WITH late AS (
  SELECT r.id FROM runs r JOIN restore_jobs j ON j.run_id = r.id
  WHERE r.status = 'awaiting_approval' AND j.approval_expires_at <= now() ORDER BY r.id LIMIT $1 FOR UPDATE OF r SKIP LOCKED),
ended AS (
  UPDATE runs r SET status = 'cancelled', cancel_requested_at = coalesce(r.cancel_requested_at, now()), finished_at = now(), updated_at = now()
  FROM late WHERE r.id = late.id RETURNING r.id),
expired AS (
  UPDATE restore_jobs j SET approval_decision = 'expired', approval_decided_at = now() FROM ended WHERE j.run_id = ended.id
  RETURNING j.run_id, j.tenant_id, j.source_id, j.approval_asked_by, j.approval_expires_at),
entry AS (
  INSERT INTO audit_log (user_id, action, tenant_id, source_id, run_id, before, after)
  SELECT $2, 'restore.expire', e.tenant_id, e.source_id, e.run_id, jsonb_build_object('status', 'awaiting_approval'),
    jsonb_build_object('status', 'cancelled', 'requestedBy', e.approval_asked_by, 'expiredAt', e.approval_expires_at)
  -- Always in the same order: two sweepers then wait for each other's chains in none but that.
  FROM expired e ORDER BY e.tenant_id)
SELECT run_id AS "runId", tenant_id AS "tenantId" FROM expired`,
    values: [limit, WORKER_USER],
  });
  return allRows(result, Expired);
}
