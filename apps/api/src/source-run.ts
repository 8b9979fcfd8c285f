import { getSource, insertRun, type Source, withSystem } from "@rowback/db";
import type { JobName } from "@rowback/jobs";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type AuditAction, audit } from "./audit.ts";
import { callerOf } from "./auth/caller.ts";
import type { ApiContext } from "./context.ts";
import { notFound } from "./problem.ts";
import { answerWithRun, earlierRun, insertedRun, type RunHeaders, requestedRun } from "./run-start.ts";
import type { RunView } from "./run-view.ts";

/**
 * Answers a request that makes a run of a source (`:id`), which is no tenant's: the run that an earlier sending of it made, or a new one, noted
 * in the audit log by the same transaction, then handed to the queue.
 * @param check throws what stands against it
 * @throws RecoveryError `not_found`, what `check` throws (nothing is written then); `idempotency_conflict`
 */
export async function answerSourceRun(
  api: ApiContext,
  request: FastifyRequest & { headers: RunHeaders; params: { id: string } },
  reply: FastifyReply,
  {
    kind,
    action,
    check,
  }: { readonly kind: JobName; readonly action: AuditAction; readonly check?: (source: Source) => void },
): Promise<RunView> {
  const sourceId = request.params.id;
  const run = await withSystem(api.db, async (client) => {
    const asked = requestedRun(kind, request, callerOf(request).userId);
    const earlier = await earlierRun(client, asked, { sourceId });
    if (earlier !== null) return earlier;
    const source = await getSource(client, sourceId);
    if (source === null) throw notFound("source");
    check?.(source);
    const inserted = insertedRun(await insertRun(client, { ...asked, tenantId: null, sourceId, params: {} }));
    if (inserted.isNew) await audit(client, request, { action, sourceId, runId: inserted.run.id });
    return inserted.run;
  });
  return answerWithRun(api, request, reply, run);
}
