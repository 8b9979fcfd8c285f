import { getCaptureState, getSource, listEpochs } from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import { captureInClear } from "@rowback/recovery/plans";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import type { z } from "zod";
import { CaptureView, toCaptureView } from "../capture-view.ts";
import type { ApiContext } from "../context.ts";
import { notFound } from "../problem.ts";
import { IdParams, PROBLEMS } from "../responses.ts";
import { RUN_RESPONSES, RUN_TIMEOUT_MS, RunHeaders } from "../run-start.ts";
import { answerSourceRun } from "../source-run.ts";

/** Setting up, watching and ending the capture of a source's changes. */
export function captureRoutes(api: ApiContext): FastifyPluginAsyncZod {
  const { db } = api;
  const access = "source:manage";
  return async (app) => {
    app.get(
      "/v1/sources/:id/capture",
      {
        config: { access },
        schema: {
          tags: ["sources"],
          summary: "Whether the source's changes are captured, how far behind, and what stands in the way",
          params: IdParams,
          response: { 200: CaptureView, ...PROBLEMS },
        },
      },
      async (request) => {
        const sourceId = request.params.id;
        if ((await getSource(db.system, sourceId)) === null) throw notFound("source");
        const [state, epochs] = await Promise.all([
          getCaptureState(db.system, sourceId),
          listEpochs(db.system, sourceId),
        ]);
        if (state === null) {
          throw new RecoveryError("conflict", "This source's changes were never captured.", {
            hint: "Ask for POST /v1/sources/:id/capture first.",
            sourceId,
          });
        }
        return toCaptureView(state, epochs.at(-1) ?? null, new Date());
      },
    );

    for (const { method, kind, summary, action } of [
      {
        method: "POST",
        kind: "capture_setup",
        action: "source.capture",
        summary:
          "Begin to capture the source's changes, or take new tables in; refuses what would break the source's application",
      },
      {
        method: "DELETE",
        kind: "capture_teardown",
        action: "source.stop_capture",
        summary: "End the capture, and drop its slot and publication; later moments can't be restored to",
      },
    ] as const) {
      app.route<{ Params: z.infer<typeof IdParams>; Headers: RunHeaders }>({
        method,
        url: "/v1/sources/:id/capture",
        config: { access },
        handlerTimeout: RUN_TIMEOUT_MS,
        schema: {
          tags: ["sources"],
          summary,
          params: IdParams,
          headers: RunHeaders,
          response: { ...RUN_RESPONSES, ...PROBLEMS },
        },
        handler: (request, reply) =>
          answerSourceRun(api, request, reply, {
            kind,
            action,
            check: ({ encryption }) => {
              if (kind === "capture_setup" && encryption) throw captureInClear(request.params.id);
            },
          }),
      });
    }
  };
}
