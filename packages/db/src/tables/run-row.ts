import { z } from "zod";
import { Int8, Json } from "../rows.ts";
import { RUN_STATES } from "../run-states.ts";

export const RUN_KINDS = [
  "discovery",
  "backup",
  "backup_verify",
  "restore_preview",
  "restore",
  "tenant_erase",
  "capture_setup",
  "capture_teardown",
  "restore_point",
  "history",
] as const;
export type RunKind = (typeof RUN_KINDS)[number];

/** Why a run failed, or why its last attempt did. `table` is `schema.table`. */
export const RunError = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
  retryable: z.boolean(),
  table: z.string().optional(),
});
export type RunError = z.infer<typeof RunError>;

/** A run as readers see it. The fence (`attempt_token`) is its holder's alone: see ClaimedRun. */
export const Run = z.object({
  id: z.uuid(),
  kind: z.enum(RUN_KINDS),
  tenantId: z.uuid().nullable(),
  sourceId: z.uuid(),
  status: z.enum(RUN_STATES),
  attempt: z.int(),
  maxAttempts: z.int(),
  worker: z.string().nullable(),
  leaseUntil: z.date().nullable(),
  cancelRequestedAt: z.date().nullable(),
  progress: Json.nullable(),
  params: Json,
  result: Json.nullable(),
  error: RunError.nullable(),
  parentRunId: z.uuid().nullable(),
  requestedBy: z.string(),
  createdAt: z.date(),
  availableAt: z.date(),
  startedAt: z.date().nullable(),
  finishedAt: z.date().nullable(),
  updatedAt: z.date(),
});
export type Run = z.infer<typeof Run>;

/** A run and the token that proves who holds it. */
export const ClaimedRun = Run.extend({ attemptToken: z.uuid() });
export type ClaimedRun = z.infer<typeof ClaimedRun>;

/** What a worker shows with every write. */
export interface RunClaim {
  readonly runId: string;
  readonly attemptToken: string;
}

/** The columns of `Run`, of a row called `r`. */
export const RUN_COLUMNS = `r.id, r.kind, r.tenant_id AS "tenantId", r.source_id AS "sourceId", r.status, r.attempt,
  r.max_attempts AS "maxAttempts", r.worker, r.lease_until AS "leaseUntil", r.cancel_requested_at AS "cancelRequestedAt",
  r.progress, r.params, r.result, r.error, r.parent_run_id AS "parentRunId", r.requested_by AS "requestedBy",
  r.created_at AS "createdAt", r.available_at AS "availableAt", r.started_at AS "startedAt",
  r.finished_at AS "finishedAt", r.updated_at AS "updatedAt"`;

export const Count = z.object({ count: Int8 });
