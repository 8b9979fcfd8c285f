import { RUN_KINDS, RUN_STATES, type Run } from "@rowback/db";
import { JobName } from "@rowback/jobs";
import { z } from "zod";
import { resultOf } from "./run-result.ts";

/** What went wrong with a run, or with its last attempt while another is to come. */
export const RunErrorView = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
  retryable: z.boolean(),
  table: z.string().optional(),
});

/** A run as clients see it. Which worker holds it, and by what, is nobody's business outside. */
export const RunView = z
  .object({
    id: z.uuid(),
    kind: z.enum(RUN_KINDS),
    status: z.enum(RUN_STATES),
    tenantId: z.uuid().nullable(),
    sourceId: z.uuid(),
    attempt: z.int(),
    maxAttempts: z.int(),
    progress: z.unknown().meta({ description: "While it runs: phase, share (0 … 1), and rows and bytes per table." }),
    result: z.unknown().meta(resultOf(...JobName.options)),
    error: RunErrorView.nullable(),
    parentRunId: z.uuid().nullable(),
    requestedBy: z.string(),
    cancelRequestedAt: z.iso.datetime().nullable(),
    createdAt: z.iso.datetime(),
    startedAt: z.iso.datetime().nullable(),
    finishedAt: z.iso.datetime().nullable(),
    updatedAt: z.iso.datetime(),
  })
  .meta({ id: "Run" });
export type RunView = z.infer<typeof RunView>;

export function toRunView(run: Run): RunView {
  return {
    id: run.id,
    kind: run.kind,
    status: run.status,
    tenantId: run.tenantId,
    sourceId: run.sourceId,
    attempt: run.attempt,
    maxAttempts: run.maxAttempts,
    progress: run.progress,
    result: run.result,
    error: run.error,
    parentRunId: run.parentRunId,
    requestedBy: run.requestedBy,
    cancelRequestedAt: isoOrNull(run.cancelRequestedAt),
    createdAt: run.createdAt.toISOString(),
    startedAt: isoOrNull(run.startedAt),
    finishedAt: isoOrNull(run.finishedAt),
    updatedAt: run.updatedAt.toISOString(),
  };
}

/** RFC 3339 in UTC. */
export function isoOrNull(date: Date | null): string | null {
  return date?.toISOString() ?? null;
}
