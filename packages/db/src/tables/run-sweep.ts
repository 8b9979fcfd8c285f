import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { allRows, jsonb } from "../rows.ts";
import { RUN_KINDS, type RunError } from "./run-row.ts";

const Enqueueable = z.object({
  id: z.uuid(),
  kind: z.enum(RUN_KINDS),
  tenantId: z.uuid().nullable(),
  /** Text with microseconds, to go on from. */
  availableAt: z.string(),
});
export type EnqueueableRun = z.infer<typeof Enqueueable>;

/**
 * Queued runs that were available `forMs` milliseconds ago and are queued still: the queue may have lost their jobs.
 * Oldest first; the next lot comes `after` the last of this one.
 */
export async function listEnqueueable(
  q: Queryable,
  asked: { readonly forMs: number; readonly limit: number; readonly after?: EnqueueableRun },
): Promise<EnqueueableRun[]> {
  const result = await q.query({
    text: `SELECT r.id, r.kind, r.tenant_id AS "tenantId", r.available_at::text AS "availableAt" FROM runs r
WHERE r.status = 'queued' AND r.available_at <= now() - $1 * interval '1 millisecond'
  AND ($2::timestamptz IS NULL OR (r.available_at, r.id) > ($2, $3::uuid))
ORDER BY r.available_at, r.id LIMIT $4`,
    values: [asked.forMs, asked.after?.availableAt ?? null, asked.after?.id ?? null, asked.limit],
  });
  return allRows(result, Enqueueable);
}

const Expired = z.object({
  id: z.uuid(),
  kind: z.enum(RUN_KINDS),
  tenantId: z.uuid().nullable(),
  worker: z.string(),
  leaseUntil: z.date(),
});
export type ExpiredLease = z.infer<typeof Expired>;

/** Running runs whose worker let the lease end, longest ago first. */
export async function listExpiredLeases(q: Queryable, limit: number): Promise<ExpiredLease[]> {
  const result = await q.query({
    text: `SELECT r.id, r.kind, r.tenant_id AS "tenantId", r.worker, r.lease_until AS "leaseUntil" FROM runs r
WHERE r.status = 'running' AND r.lease_until < now() ORDER BY r.lease_until LIMIT $1`,
    values: [limit],
  });
  return allRows(result, Expired);
}

const TakenBack = z.object({
  id: z.uuid(),
  kind: z.enum(RUN_KINDS),
  tenantId: z.uuid().nullable(),
  worker: z.string(),
  status: z.enum(["queued", "failed", "cancelled"]),
});
export type TakenBackRun = z.infer<typeof TakenBack>;

/**
 * Takes back up to `limit` runs whose lease ended, in one statement: queued again where attempts are left (enqueue
 * those), else failed with `error`; cancelled where that was asked for. A run that took `crashes.most` workers with it
 * fails with `crashes.error`, whatever attempts are left. Two sweepers at once share the work.
 */
export async function takeBackExpiredRuns(
  q: Queryable,
  sweep: {
    readonly limit: number;
    readonly error: RunError;
    readonly crashes: { readonly most: number; readonly error: RunError };
  },
): Promise<TakenBackRun[]> {
  const result = await q.query({
    text: `WITH expired AS (
  SELECT id FROM runs WHERE status = 'running' AND lease_until < now() ORDER BY lease_until LIMIT $1 FOR UPDATE SKIP LOCKED)
UPDATE runs r SET
  status = CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'cancelled'
    WHEN r.attempt < r.max_attempts AND r.crashes + 1 < $3 THEN 'queued' ELSE 'failed' END,
  finished_at = CASE WHEN r.cancel_requested_at IS NOT NULL OR r.attempt >= r.max_attempts OR r.crashes + 1 >= $3 THEN now() END,
  error = CASE WHEN r.crashes + 1 >= $3 THEN $4::jsonb ELSE $2::jsonb END, crashes = r.crashes + 1, available_at = now(), attempt_token = NULL, lease_until = NULL, updated_at = now()
FROM expired WHERE r.id = expired.id
RETURNING r.id, r.kind, r.tenant_id AS "tenantId", r.worker, r.status`,
    values: [sweep.limit, jsonb(sweep.error), sweep.crashes.most, jsonb(sweep.crashes.error)],
  });
  return allRows(result, TakenBack);
}
