import { z } from "zod";
import {
  BackupParams,
  BackupVerifyParams,
  CaptureSetupParams,
  CaptureTeardownParams,
  DiscoveryParams,
  HistoryParams,
  RestoreParams,
  RestorePointParams,
  RestorePreviewParams,
  TenantEraseParams,
} from "./run-params.ts";

/** Work of one kind of patience: an hour-long backup must not stand before a preview somebody waits for. */
export const QUEUES = ["backups", "restores", "discovery"] as const;
export type QueueName = (typeof QUEUES)[number];

/** Ids only: what to do is in the run's row, and Redis holds clear text. The job's id is the run's id. */
export const RunPayload = z.strictObject({ runId: z.uuid() });
export type RunPayload = z.infer<typeof RunPayload>;

/** How long to wait before the next attempt, in milliseconds: doubled each time, jittered, up to `maxMs`. */
export interface Backoff {
  readonly minMs: number;
  readonly maxMs: number;
}

interface JobDefinition {
  readonly queue: QueueName;
  /** The `max_attempts` of a run's row, which alone counts. */
  readonly attempts: number;
  readonly backoff: Backoff;
  /** How long one attempt may take, in milliseconds, unless the worker's settings say otherwise. */
  readonly timeoutMs: number;
  readonly payload: typeof RunPayload;
  /** The `params` of a run's row. */
  readonly params: z.ZodType;
}

// A source or store that restarts is back within a minute; five tries with these waits span about two.
const PATIENT: Backoff = { minMs: 5_000, maxMs: 120_000 };
// Somebody looks at a screen.
const EAGER: Backoff = { minMs: 1_000, maxMs: 15_000 };

const MINUTES = 60_000;
// Half a terabyte over a slow line takes the better part of a day. What takes longer hangs on something, and holds back
// vacuum on the source for as long as it does.
const WHOLE_TENANT_MS = 24 * 60 * MINUTES;

/** Every kind of run, and how it is delivered. */
export const JOBS = {
  discovery: {
    queue: "discovery",
    attempts: 3,
    backoff: EAGER,
    timeoutMs: 15 * MINUTES,
    payload: RunPayload,
    params: DiscoveryParams,
  },
  backup: {
    queue: "backups",
    attempts: 5,
    backoff: PATIENT,
    timeoutMs: WHOLE_TENANT_MS,
    payload: RunPayload,
    params: BackupParams,
  },
  backup_verify: {
    queue: "backups",
    attempts: 3,
    backoff: PATIENT,
    timeoutMs: WHOLE_TENANT_MS,
    payload: RunPayload,
    params: BackupVerifyParams,
  },
  restore_preview: {
    queue: "restores",
    attempts: 3,
    backoff: EAGER,
    timeoutMs: WHOLE_TENANT_MS,
    payload: RunPayload,
    params: RestorePreviewParams,
  },
  restore: {
    queue: "restores",
    attempts: 3,
    backoff: EAGER,
    timeoutMs: WHOLE_TENANT_MS,
    payload: RunPayload,
    params: RestoreParams,
  },
  // Making a slot waits for the source's longest transaction.
  capture_setup: {
    queue: "discovery",
    attempts: 5,
    backoff: EAGER,
    timeoutMs: WHOLE_TENANT_MS,
    payload: RunPayload,
    params: CaptureSetupParams,
  },
  capture_teardown: {
    queue: "discovery",
    attempts: 5,
    backoff: PATIENT,
    timeoutMs: 15 * MINUTES,
    payload: RunPayload,
    params: CaptureTeardownParams,
  },
  // It waits for the tenant's other runs to end, and for a store that is down: nothing else will purge what is left.
  tenant_erase: {
    queue: "backups",
    attempts: 30,
    backoff: PATIENT,
    timeoutMs: WHOLE_TENANT_MS,
    payload: RunPayload,
    params: TenantEraseParams,
  },
  restore_point: {
    queue: "restores",
    attempts: 3,
    backoff: EAGER,
    timeoutMs: 15 * MINUTES,
    payload: RunPayload,
    params: RestorePointParams,
  },
  history: {
    queue: "restores",
    attempts: 3,
    backoff: EAGER,
    timeoutMs: WHOLE_TENANT_MS,
    payload: RunPayload,
    params: HistoryParams,
  },
} as const satisfies Record<string, JobDefinition>;

export type JobName = keyof typeof JOBS;
export const JobName = z.enum([
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
]) satisfies z.ZodType<JobName>;

/** The kinds of one queue; they share its workers' hands and its limits. */
export function jobsOf(queue: QueueName): readonly JobName[] {
  return JobName.options.filter((name) => JOBS[name].queue === queue);
}

/**
 * Milliseconds until the next attempt, after `attempt` attempts (≥ 1): half of the doubled, capped wait, plus a random
 * part of the other half ("equal jitter"), so that a thousand runs that failed together don't return together.
 * @param random 0 … 1
 */
export function retryDelayMs(name: JobName, attempt: number, random: number = Math.random()): number {
  const { minMs, maxMs } = JOBS[name].backoff;
  const wait = Math.min(minMs * 2 ** (attempt - 1), maxMs);
  return Math.round(wait / 2 + (wait / 2) * random);
}
