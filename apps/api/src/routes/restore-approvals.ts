import { type DecisionResult, decideRestore, type Restore, withTenant } from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { audit } from "../audit.ts";
import { requirePerson } from "../auth/authenticate.ts";
import { tenantCallerOf } from "../auth/caller.ts";
import type { ApiContext } from "../context.ts";
import { plainText } from "../plain-text.ts";
import { notFound } from "../problem.ts";
import { IdParams, optionalBody, PROBLEMS } from "../responses.ts";
import { RestoreView, toRestoreView } from "../restore-view.ts";
import { answerWithRun, RUN_RESPONSES, RUN_TIMEOUT_MS, RunHeaders } from "../run-start.ts";

const Comment = optionalBody(
  z.strictObject({ comment: plainText(2_000).nullable().default(null).meta({ description: "For the record." }) }),
);

/** A second person's word on a restore that awaits it (`restoresNeedApproval` of GET /v1/settings). */
export function restoreApprovalRoutes(api: ApiContext): FastifyPluginAsyncZod {
  const { db } = api;

  async function decide(
    request: FastifyRequest,
    runId: string,
    decision: "approved" | "rejected",
    comment: string | null,
  ): Promise<Restore> {
    requirePerson(request);
    const { tenantId, userId } = tenantCallerOf(request);
    return withTenant(db, tenantId, async (client) => {
      const result = await decideRestore(client, { runId, decision, decidedBy: userId, comment });
      const restore = decidedRestore(result, { decision, userId });
      if (result?.outcome === "decided") {
        const action = decision === "approved" ? "restore.approve" : "restore.reject";
        await audit(client, request, { action, tenantId, runId, after: { comment, requestedBy: restore.requestedBy } });
      }
      return restore;
    });
  }

  return async (app) => {
    app.post(
      "/v1/restores/:id/approve",
      {
        config: { access: "restore:apply" },
        handlerTimeout: RUN_TIMEOUT_MS,
        schema: {
          tags: ["restores"],
          summary: "Agree to a restore that another person asked for; only then it is queued",
          params: IdParams,
          headers: RunHeaders,
          body: Comment,
          response: { ...RUN_RESPONSES, ...PROBLEMS },
        },
      },
      async (request, reply) =>
        answerWithRun(api, request, reply, await decide(request, request.params.id, "approved", request.body.comment)),
    );

    app.post(
      "/v1/restores/:id/reject",
      {
        config: { access: "restore:apply" },
        schema: {
          tags: ["restores"],
          summary: "Refuse a restore that another person asked for; it is cancelled, and nothing was changed",
          params: IdParams,
          body: Comment,
          response: { 200: RestoreView, ...PROBLEMS },
        },
      },
      async (request) => toRestoreView(await decide(request, request.params.id, "rejected", request.body.comment)),
    );
  };
}

/** The restore as it is now. The same word by the same person again is the answer to a lost one, and no conflict. */
function decidedRestore(
  result: DecisionResult | null,
  said: { readonly decision: "approved" | "rejected"; readonly userId: string },
): Restore {
  if (result === null) throw notFound("restore");
  const { restore } = result;
  const context = { runId: restore.id, tenantId: restore.tenantId };
  switch (result.outcome) {
    case "decided":
      return restore;
    case "own":
      throw new RecoveryError("forbidden", "Who asks for a restore can't be who agrees to it.", {
        hint: "Another owner or admin has to decide; to take it back, cancel it.",
        ...context,
      });
    case "expired":
      throw new RecoveryError("conflict", "Nobody agreed to the restore in time.", {
        hint: "Preview again, and ask for the restore anew.",
        ...context,
      });
    case "not_waiting":
      if (restore.approvalDecision === said.decision && restore.approvalDecidedBy === said.userId) return restore;
      throw new RecoveryError("conflict", `The restore does not await approval; it is ${restore.status}.`, {
        hint: "GET /v1/restores?status=awaiting_approval lists those that do.",
        ...context,
      });
  }
}
