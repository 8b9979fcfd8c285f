import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { allRows, firstRow, jsonb } from "../rows.ts";
import { ClaimedRun, RUN_COLUMNS, type RunClaim, type RunError } from "./run-row.ts";

// The queue's clock and the database's round differently. A retry that came some milliseconds before its row says so
// would be refused and wait for the sweeper; one that runs a second early harms nobody.
export const EARLY_MS = 1_000;

// Built once: a schema made per call costs more than the statement's round trip.
const ClaimedOrCancelled = ClaimedRun.extend({ attemptToken: z.uuid().nullable() });

/**
 * Takes a queued run, or one whose worker let its lease end: status running, a new attempt token, attempt + 1. Null when
 * there is nothing to take (held, ended, not yet available, out of attempts); then the caller has nothing to do. A run
 * whose cancellation was asked for is cancelled instead, and null comes back.
 * @param leaseMs how long the claim holds without a renewal, by the database's clock
 */
export async function claimRun(
  q: Queryable,
  claim: { readonly runId: string; readonly worker: string; readonly leaseMs: number },
): Promise<ClaimedRun | null> {
  const result = await q.query({
    name: "claim_run",
    text: `UPDATE runs r SET
  status = CASE WHEN r.cancel_requested_at IS NULL THEN 'running' ELSE 'cancelled' END,
  attempt = r.attempt + (r.cancel_requested_at IS NULL)::int,
  attempt_token = CASE WHEN r.cancel_requested_at IS NULL THEN gen_random_uuid() END,
  worker = $2,
  lease_until = CASE WHEN r.cancel_requested_at IS NULL THEN now() + $3 * interval '1 millisecond' END,
  finished_at = CASE WHEN r.cancel_requested_at IS NOT NULL THEN now() END,
  started_at = CASE WHEN r.cancel_requested_at IS NULL THEN coalesce(r.started_at, now()) ELSE r.started_at END,
  progress = NULL, updated_at = now()
WHERE r.id = $1 AND (r.attempt < r.max_attempts OR r.cancel_requested_at IS NOT NULL)
  AND (r.status = 'queued' AND r.available_at <= now() + interval '${EARLY_MS} milliseconds'
    OR r.status = 'running' AND r.lease_until < now())
RETURNING ${RUN_COLUMNS}, r.attempt_token AS "attemptToken"`,
    values: [claim.runId, claim.worker, claim.leaseMs],
  });
  const run = firstRow(result, ClaimedOrCancelled);
  return run === null || run.attemptToken === null ? null : { ...run, attemptToken: run.attemptToken };
}

/** A lease that was found held. */
const Held = z.object({ runId: z.uuid(), attemptToken: z.uuid(), cancelRequested: z.boolean() });
export type HeldLease = z.infer<typeof Held>;
const HeldToken = Held.pick({ attemptToken: true });

/**
 * Prolongs all the leases of a worker in one statement. What is missing from the answer is lost: its run must stop.
 * A lease that ended but that nobody took is held again.
 */
export async function renewLeases(q: Queryable, claims: readonly RunClaim[], leaseMs: number): Promise<HeldLease[]> {
  const result = await q.query({
    name: "renew_leases",
    text: `UPDATE runs r SET lease_until = now() + $3 * interval '1 millisecond', updated_at = now()
FROM unnest($1::uuid[], $2::uuid[]) AS held (id, token)
WHERE r.id = held.id AND r.attempt_token = held.token AND r.status = 'running'
RETURNING r.id AS "runId", r.attempt_token AS "attemptToken", r.cancel_requested_at IS NOT NULL AS "cancelRequested"`,
    values: [claims.map((claim) => claim.runId), claims.map((claim) => claim.attemptToken), leaseMs],
  });
  return allRows(result, Held);
}

/** Which of the held runs somebody wants cancelled: their attempt tokens. Reads only, so a worker may ask every second. */
export async function listCancelRequested(q: Queryable, claims: readonly RunClaim[]): Promise<string[]> {
  const result = await q.query({
    name: "list_cancel_requested",
    text: `SELECT r.attempt_token AS "attemptToken" FROM runs r
WHERE r.id = ANY ($1::uuid[]) AND r.attempt_token = ANY ($2::uuid[]) AND r.cancel_requested_at IS NOT NULL`,
    values: [claims.map((claim) => claim.runId), claims.map((claim) => claim.attemptToken)],
  });
  return allRows(result, HeldToken).map((row) => row.attemptToken);
}

/** Records how far the run has come. Null: the lease is lost, nothing was written. The caller throttles. */
export async function recordProgress(q: Queryable, claim: RunClaim, progress: unknown): Promise<HeldLease | null> {
  const result = await q.query({
    name: "record_progress",
    text: `UPDATE runs r SET progress = $3, updated_at = now()
WHERE r.id = $1 AND r.attempt_token = $2 AND r.status = 'running'
RETURNING r.id AS "runId", r.attempt_token AS "attemptToken", r.cancel_requested_at IS NOT NULL AS "cancelRequested"`,
    values: [claim.runId, claim.attemptToken, jsonb(progress)],
  });
  return firstRow(result, Held);
}

/** SQL that ends a held run well; `$1` id, `$2` token, `$3` result. Others put it in front of their own outcome. */
export const SUCCEED_RUN = `UPDATE runs r SET
  status = 'succeeded', result = $3, error = NULL, attempt_token = NULL, lease_until = NULL, finished_at = now(), updated_at = now()
WHERE r.id = $1 AND r.attempt_token = $2 AND r.status = 'running'
RETURNING r.id, r.kind, r.tenant_id, r.source_id, r.requested_by, r.worker`;

/** Ends the run well. False: the lease is lost, nothing was written. */
export async function succeedRun(q: Queryable, claim: RunClaim, result: unknown): Promise<boolean> {
  return held(
    await q.query({ name: "succeed_run", text: SUCCEED_RUN, values: [claim.runId, claim.attemptToken, jsonb(result)] }),
  );
}

/** Ends the run badly, for good. False: the lease is lost, nothing was written. */
export async function failRun(q: Queryable, claim: RunClaim, error: RunError): Promise<boolean> {
  const result = await q.query({
    name: "fail_run",
    text: `UPDATE runs r SET
  status = 'failed', error = $3, attempt_token = NULL, lease_until = NULL, finished_at = now(), updated_at = now()
WHERE r.id = $1 AND r.attempt_token = $2 AND r.status = 'running'`,
    values: [claim.runId, claim.attemptToken, jsonb(error)],
  });
  return held(result);
}

/** What became of a run that was to be tried again. */
const Requeued = z.object({ status: z.enum(["queued", "failed", "cancelled"]), availableAt: z.date() });
export type Requeued = z.infer<typeof Requeued>;

/**
 * Puts the run back for another attempt in `delayMs`, with the error of this one. Out of attempts it fails instead; a
 * run whose cancellation was asked for is cancelled. Null: the lease is lost, nothing was written.
 */
export async function requeueRun(
  q: Queryable,
  claim: RunClaim,
  retry: { readonly delayMs: number; readonly error: RunError },
): Promise<Requeued | null> {
  const result = await q.query({
    name: "requeue_run",
    text: `UPDATE runs r SET
  status = CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'cancelled' WHEN r.attempt < r.max_attempts THEN 'queued' ELSE 'failed' END,
  finished_at = CASE WHEN r.cancel_requested_at IS NOT NULL OR r.attempt >= r.max_attempts THEN now() END,
  available_at = now() + $3 * interval '1 millisecond', error = $4, attempt_token = NULL, lease_until = NULL, updated_at = now()
WHERE r.id = $1 AND r.attempt_token = $2 AND r.status = 'running'
RETURNING r.status, r.available_at AS "availableAt"`,
    values: [claim.runId, claim.attemptToken, retry.delayMs, jsonb(retry.error)],
  });
  return firstRow(result, Requeued);
}

/** Hands the run back, unharmed and at once, without costing an attempt (a worker's shutdown). Null: the lease is lost. */
export async function releaseRun(q: Queryable, claim: RunClaim): Promise<Requeued | null> {
  const result = await q.query({
    name: "release_run",
    text: `UPDATE runs r SET
  status = CASE WHEN r.cancel_requested_at IS NULL THEN 'queued' ELSE 'cancelled' END,
  finished_at = CASE WHEN r.cancel_requested_at IS NOT NULL THEN now() END,
  attempt = r.attempt - 1, available_at = now(), attempt_token = NULL, lease_until = NULL, updated_at = now()
WHERE r.id = $1 AND r.attempt_token = $2 AND r.status = 'running'
RETURNING r.status, r.available_at AS "availableAt"`,
    values: [claim.runId, claim.attemptToken],
  });
  return firstRow(result, Requeued);
}

/**
 * Puts the run back until what it needs is well again, in `delayMs`, without costing an attempt; `error` says what it
 * waits for. Null: the lease is lost.
 */
export async function postponeRun(
  q: Queryable,
  claim: RunClaim,
  wait: { readonly delayMs: number; readonly error: RunError },
): Promise<Requeued | null> {
  const result = await q.query({
    name: "postpone_run",
    text: `UPDATE runs r SET
  status = CASE WHEN r.cancel_requested_at IS NULL THEN 'queued' ELSE 'cancelled' END,
  finished_at = CASE WHEN r.cancel_requested_at IS NOT NULL THEN now() END,
  attempt = r.attempt - 1, available_at = now() + $3 * interval '1 millisecond', error = $4,
  attempt_token = NULL, lease_until = NULL, updated_at = now()
WHERE r.id = $1 AND r.attempt_token = $2 AND r.status = 'running'
RETURNING r.status, r.available_at AS "availableAt"`,
    values: [claim.runId, claim.attemptToken, wait.delayMs, jsonb(wait.error)],
  });
  return firstRow(result, Requeued);
}

/** Ends the run as cancelled. False: the lease is lost, nothing was written. */
export async function cancelRun(q: Queryable, claim: RunClaim): Promise<boolean> {
  const result = await q.query({
    name: "cancel_run",
    text: `UPDATE runs r SET
  status = 'cancelled', cancel_requested_at = coalesce(r.cancel_requested_at, now()),
  attempt_token = NULL, lease_until = NULL, finished_at = now(), updated_at = now()
WHERE r.id = $1 AND r.attempt_token = $2 AND r.status = 'running'`,
    values: [claim.runId, claim.attemptToken],
  });
  return held(result);
}

function held(result: { rowCount: number | null }): boolean {
  return result.rowCount === 1;
}
