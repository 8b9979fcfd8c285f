import { createHash } from "node:crypto";
import { findKeyedRun, hasEnded, type InsertRunResult, type Queryable, type Run } from "@rowback/db";
import { JOBS, type JobName } from "@rowback/jobs";
import { ERROR_CATALOG, type ErrorCode, RecoveryError } from "@rowback/recovery/errors";
import type { FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import type { ApiContext } from "./context.ts";
import { jsonResponse } from "./responses.ts";
import { RunView, toRunView } from "./run-view.ts";

/** Longest `Prefer: wait`, in seconds; load balancers commonly give up on a silent request after 60. */
const MAX_WAIT_SECONDS = 60;

/** For the routes that may wait that long. */
export const RUN_TIMEOUT_MS = (MAX_WAIT_SECONDS + 15) * 1000;

/** How such a POST answers when it goes well. */
export const RUN_RESPONSES = {
  200: jsonResponse("The run ended well within the preferred wait.", RunView),
  202: jsonResponse(
    "The run is queued, or awaits approval, or an earlier request with this Idempotency-Key made it.",
    RunView,
  ),
} as const;

/** What every POST that creates a run reads from the headers. */
export const RunHeaders = z.looseObject({
  "idempotency-key": z
    .string()
    .regex(/^[\x21-\x7e]{1,200}$/, "must be 1 to 200 printable ASCII characters without spaces")
    .optional()
    .meta({ description: "The same key with the same request gives the same run, however often it is sent." }),
  prefer: z
    .string()
    .optional()
    .meta({ description: `wait=<seconds>: answer with the ended run, or its problem; at most ${MAX_WAIT_SECONDS}.` }),
});
export type RunHeaders = z.infer<typeof RunHeaders>;

/** The columns that every asked-for run has in common. */
export function requestedRun<K extends JobName>(
  kind: K,
  request: { headers: RunHeaders; method: string; url: string; body: unknown },
  userId: string,
): { kind: K; maxAttempts: number; requestedBy: string; idempotency: { key: string; digest: string } | undefined } {
  const key = request.headers["idempotency-key"];
  return {
    kind,
    maxAttempts: JOBS[kind].attempts,
    requestedBy: userId,
    idempotency: key === undefined ? undefined : { key, digest: requestDigest(request) },
  };
}

/**
 * The run that an earlier sending of this request made, if it did. Asked before anything else: a client that sends again
 * because the answer was lost must get that run, whatever was deleted, restored or discovered meanwhile.
 */
export async function earlierRun(
  q: Queryable,
  asked: Pick<ReturnType<typeof requestedRun>, "requestedBy" | "idempotency">,
  of: { readonly tenantId: string } | { readonly sourceId: string },
): Promise<Run | null> {
  const tenantId = "tenantId" in of ? of.tenantId : null;
  const found = await findKeyedRun(q, { ...asked, tenantId, sourceId: "sourceId" in of ? of.sourceId : null });
  return found === null ? null : insertedRun(found, tenantId ?? undefined).run;
}

/** The run that came of the request, new or the one that an earlier sending made. Throws the conflicts. */
export function insertedRun(inserted: InsertRunResult, tenantId?: string): { run: Run; isNew: boolean } {
  switch (inserted.outcome) {
    case "created":
      return { run: inserted.run, isNew: true };
    case "existing":
      return { run: inserted.run, isNew: false };
    case "idempotency_conflict":
      throw new RecoveryError("idempotency_conflict", "This Idempotency-Key came with a different request before.", {
        hint: "Send a new key for a new request.",
        runId: inserted.runId,
        tenantId,
      });
    case "restore_in_progress":
      throw new RecoveryError(
        "restore_in_progress",
        "Another restore of this tenant awaits approval, is queued or running.",
        {
          hint: "Wait for it to end, or cancel it.",
          runId: inserted.runId,
          tenantId,
        },
      );
  }
}

/**
 * After the commit: hands the run to the queue, waits for its end where the client prefers that, and answers.
 * A Redis that does not answer fails nothing: the row stands, and the worker's sweeper delivers it.
 */
export async function answerWithRun(
  deps: Pick<ApiContext, "producer" | "runWatcher">,
  request: FastifyRequest & { headers: RunHeaders },
  reply: FastifyReply,
  run: Run,
): Promise<RunView> {
  if (run.status === "queued") await enqueue(deps, request, run);
  reply.header("location", `/v1/runs/${run.id}`);
  const seconds = preferredWait(request.headers.prefer);
  const ended = hasEnded(run.status) ? run : await waitForEnd(deps, reply, run, seconds);
  if (seconds === 0 || ended === null) {
    reply.code(202);
    return toRunView(run);
  }
  reply.header("preference-applied", `wait=${seconds}`);
  if (ended.status !== "succeeded") throw endOf(ended);
  reply.code(200);
  return toRunView(ended);
}

async function enqueue(deps: Pick<ApiContext, "producer">, request: FastifyRequest, run: Run): Promise<void> {
  try {
    await deps.producer.enqueue(run.kind, { runId: run.id });
  } catch (error) {
    request.log.warn({ err: error, runId: run.id }, "the queue did not take the run; the sweeper will deliver it");
  }
}

async function waitForEnd(
  deps: Pick<ApiContext, "runWatcher">,
  reply: FastifyReply,
  run: Run,
  seconds: number,
): Promise<Run | null> {
  // What waits for a person is not over within a request.
  if (seconds === 0 || run.status === "awaiting_approval") return null;
  const left = new AbortController();
  const onClose = (): void => left.abort();
  reply.raw.once("close", onClose);
  try {
    return await deps.runWatcher.waitForEnd(run.id, seconds * 1000, left.signal);
  } finally {
    reply.raw.off("close", onClose);
  }
}

/** The problem of a run that failed or was cancelled. */
function endOf(run: Run): RecoveryError {
  const context = { runId: run.id, sourceId: run.sourceId, tenantId: run.tenantId ?? undefined };
  if (run.status === "cancelled" || run.error === null)
    return new RecoveryError("cancelled", "The run was cancelled.", context);
  const { code, message, hint, table } = run.error;
  return new RecoveryError(isErrorCode(code) ? code : "internal", message, { ...context, hint, table });
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CATALOG, code);
}

/** Seconds of RFC 7240's `wait`, 0 when there is none; preferences that can't be read are ignored, as it asks. */
export function preferredWait(prefer: string | undefined): number {
  const match = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,9})"?(?:$|[,;\s])/i.exec(prefer ?? "");
  return Math.min(Number(match?.[1] ?? 0), MAX_WAIT_SECONDS);
}

/** Covers the route and the parsed body: one key can't mean two things, and the order of members means nothing. */
function requestDigest(request: { method: string; url: string; body: unknown }): string {
  const [path] = request.url.split("?");
  return createHash("sha256")
    .update(`${request.method} ${path}\n${canonicalJson(request.body)}`)
    .digest("hex");
}

function canonicalJson(value: unknown): string {
  return (
    JSON.stringify(value, (_key, member: unknown) =>
      typeof member === "object" && member !== null && !Array.isArray(member)
        ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
        : member,
    ) ?? "null"
  );
}
