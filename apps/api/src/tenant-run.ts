import { type InsertRunResult, type NewAuditEntry, type TenantClient, withTenant } from "@rowback/db";
import type { JobName } from "@rowback/jobs";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type AuditAction, audit } from "./audit.ts";
import { tenantCallerOf } from "./auth/caller.ts";
import type { ApiContext } from "./context.ts";
import { answerWithRun, earlierRun, insertedRun, type RunHeaders, requestedRun } from "./run-start.ts";
import type { RunView } from "./run-view.ts";

/** The columns of a tenant's run that come of the request alone. */
export type AskedRun<K extends JobName> = ReturnType<typeof requestedRun<K>> & { readonly tenantId: string };

/** What a request came down to, in the transaction that writes its run. */
export interface BegunRun {
  readonly inserted: InsertRunResult;
  readonly note: Pick<NewAuditEntry, "sourceId" | "after"> & { readonly action: AuditAction };
}

/**
 * Answers a request that makes a run of the caller's tenant: the run that an earlier sending of it made, or the one that `begin` writes, noted in
 * the audit log by the same transaction, then handed to the queue.
 * @param options `asks`: what the request asks for, where that is not its body; `onNew`: called in the transaction of a new run
 * @throws RecoveryError what `begin` and `onNew` throw (nothing is written then); `idempotency_conflict`, `restore_in_progress`
 */
export async function answerTenantRun<K extends JobName>(
  api: ApiContext,
  request: FastifyRequest & { headers: RunHeaders },
  reply: FastifyReply,
  kind: K,
  begin: (client: TenantClient, asked: AskedRun<K>) => Promise<BegunRun>,
  options: { readonly asks?: unknown; readonly onNew?: (client: TenantClient) => Promise<void> } = {},
): Promise<RunView> {
  const { tenantId, userId } = tenantCallerOf(request);
  const { headers, method, url } = request;
  const asked = requestedRun(kind, { headers, method, url, body: options.asks ?? request.body }, userId);
  const run = await withTenant(api.db, tenantId, async (client) => {
    const earlier = await earlierRun(client, asked, { tenantId });
    if (earlier !== null) return earlier;
    const { inserted, note } = await begin(client, { ...asked, tenantId });
    const { run, isNew } = insertedRun(inserted, tenantId);
    if (isNew) {
      await options.onNew?.(client);
      await audit(client, request, { ...note, tenantId, runId: run.id });
    }
    return run;
  });
  return answerWithRun(api, request, reply, run);
}
