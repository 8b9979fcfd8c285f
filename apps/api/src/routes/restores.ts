import { getRestore, insertRestoreRun, listRestores, RUN_STATES, requestCancel, withTenant } from "@rowback/db";
import { ApplyRestoreParams, RestorePreviewParams, type UndoRestoreParams } from "@rowback/jobs";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { audit } from "../audit.ts";
import { requirePermission } from "../auth/authenticate.ts";
import { tenantCallerOf } from "../auth/caller.ts";
import { cancelledRun, readableBackup } from "../backup-state.ts";
import type { ApiContext } from "../context.ts";
import { notFound } from "../problem.ts";
import { IdParams, PageQuery, PROBLEMS, pageSchema } from "../responses.ts";
import {
  ApplyRestore,
  agreedPreview,
  checkTarget,
  chosenTarget,
  PreviewRestore,
  UndoRestore,
  undoableRestore,
  withoutKeys,
} from "../restore-request.ts";
import { RestoreView, toRestoreView } from "../restore-view.ts";
import { answerCancelled } from "../run-cancel.ts";
import {
  answerWithRun,
  earlierRun,
  insertedRun,
  RUN_RESPONSES,
  RUN_TIMEOUT_MS,
  RunHeaders,
  requestedRun,
} from "../run-start.ts";
import { RunView } from "../run-view.ts";

const RestoreQuery = z.strictObject({
  kind: z.enum(["restore", "restore_preview"]).default("restore"),
  status: z.enum(RUN_STATES).optional(),
  ...PageQuery,
});

export function restoreRoutes(api: ApiContext): FastifyPluginAsyncZod {
  const { db } = api;
  return async (app) => {
    app.post(
      "/v1/restores/preview",
      {
        config: { access: "restore:preview" },
        handlerTimeout: RUN_TIMEOUT_MS,
        schema: {
          tags: ["restores"],
          summary: "What a restore would change, row by row; changes nothing",
          headers: RunHeaders,
          body: PreviewRestore,
          response: { ...RUN_RESPONSES, ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const caller = tenantCallerOf(request);
        const { tenantId } = caller;
        const asked = requestedRun("restore_preview", request, caller.userId);
        const run = await withTenant(db, tenantId, async (client) => {
          const earlier = await earlierRun(client, asked, { tenantId });
          if (earlier !== null) return earlier;
          await checkTarget(db, caller, request.body.targetSourceId);
          const { target, ...wish } = request.body;
          const { backup, rows, moment } = await chosenTarget(client, request.body);
          const params = RestorePreviewParams.parse({ ...wish, ...rows, backupId: backup.id, moment });
          const inserted = await insertRestoreRun(
            client,
            { ...asked, tenantId, sourceId: backup.sourceId, params },
            { ...params, targetSourceId: params.targetSourceId ?? backup.sourceId },
          );
          const { run, isNew } = insertedRun(inserted, tenantId);
          if (isNew)
            await audit(client, request, {
              action: "restore.preview",
              tenantId,
              runId: run.id,
              after: withoutKeys(params),
            });
          return run;
        });
        return answerWithRun(api, request, reply, run);
      },
    );

    app.post(
      "/v1/restores",
      {
        config: { access: "restore:apply" },
        handlerTimeout: RUN_TIMEOUT_MS,
        schema: {
          tags: ["restores"],
          summary: "Apply what a preview showed, in one transaction; 409 plan_stale when live data moved since",
          headers: RunHeaders,
          body: ApplyRestore,
          response: { ...RUN_RESPONSES, ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const { tenantId, userId } = tenantCallerOf(request);
        const asked = requestedRun("restore", request, userId);
        const run = await withTenant(db, tenantId, async (client) => {
          const earlier = await earlierRun(client, asked, { tenantId });
          if (earlier !== null) return earlier;
          const preview = await agreedPreview(client, request.body.previewId, request.body.planDigest);
          await readableBackup(client, preview.backupId);
          const params = ApplyRestoreParams.parse({
            ...RestorePreviewParams.parse(preview.params),
            previewRunId: preview.id,
            planDigest: request.body.planDigest,
          });
          const inserted = await insertRestoreRun(
            client,
            { ...asked, tenantId, sourceId: preview.sourceId, params },
            { ...params, targetSourceId: preview.targetSourceId },
          );
          const { run, isNew } = insertedRun(inserted, tenantId);
          if (isNew)
            await audit(client, request, {
              action: "restore.apply",
              tenantId,
              runId: run.id,
              after: withoutKeys(params),
            });
          return run;
        });
        return answerWithRun(api, request, reply, run);
      },
    );

    app.get(
      "/v1/restores",
      {
        config: { access: "restore:read" },
        schema: {
          tags: ["restores"],
          summary: "The tenant's restores, or previews, newest first",
          querystring: RestoreQuery,
          response: { 200: pageSchema(RestoreView), ...PROBLEMS },
        },
      },
      async (request) => {
        const { kind, status, limit, cursor } = request.query;
        const page = await withTenant(db, tenantCallerOf(request).tenantId, (client) =>
          listRestores(client, { kind, status }, { limit, cursor }),
        );
        return { items: page.items.map(toRestoreView), next: page.next };
      },
    );

    app.get(
      "/v1/restores/:id",
      {
        config: { access: "restore:read" },
        schema: {
          tags: ["restores"],
          summary: "A restore or a preview; a preview's `result` is its plan",
          params: IdParams,
          response: { 200: RestoreView, ...PROBLEMS },
        },
      },
      async (request) => {
        const restore = await withTenant(db, tenantCallerOf(request).tenantId, (client) =>
          getRestore(client, request.params.id),
        );
        if (restore === null) throw notFound("restore");
        return toRestoreView(restore);
      },
    );

    app.post(
      "/v1/restores/:id/undo",
      {
        config: { access: "restore:apply" },
        handlerTimeout: RUN_TIMEOUT_MS,
        schema: {
          tags: ["restores"],
          summary: "Bring back what the restore replaced, from the backup made just before it",
          params: IdParams,
          headers: RunHeaders,
          body: UndoRestore,
          response: { ...RUN_RESPONSES, ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const { tenantId, userId } = tenantCallerOf(request);
        const asked = requestedRun("restore", request, userId);
        const run = await withTenant(db, tenantId, async (client) => {
          const earlier = await earlierRun(client, asked, { tenantId });
          if (earlier !== null) return earlier;
          const { restore, backupId } = await undoableRestore(client, request.params.id);
          const params: UndoRestoreParams = {
            undoOf: restore.id,
            discardNewerChanges: request.body.discardNewerChanges,
          };
          const inserted = await insertRestoreRun(
            client,
            { ...asked, tenantId, sourceId: restore.sourceId, params },
            {
              targetSourceId: restore.targetSourceId,
              backupId,
              mode: "exact",
              tables: null,
              keys: null,
              undoOf: restore.id,
            },
          );
          const { run, isNew } = insertedRun(inserted, tenantId);
          if (isNew) await audit(client, request, { action: "restore.undo", tenantId, runId: run.id, after: params });
          return run;
        });
        return answerWithRun(api, request, reply, run);
      },
    );

    app.post(
      "/v1/restores/:id/cancel",
      {
        config: { access: "restore:preview" },
        schema: {
          tags: ["restores"],
          summary: "Stop a restore or a preview that is queued or running; a running one is rolled back",
          params: IdParams,
          response: { 202: RunView, ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const { tenantId } = tenantCallerOf(request);
        const { id } = request.params;
        const run = await withTenant(db, tenantId, async (client) => {
          const restore = await getRestore(client, id);
          if (restore === null) throw notFound("restore");
          if (restore.kind === "restore") requirePermission(request, "restore:apply");
          return cancelledRun(await requestCancel(client, id), "restore", ({ status }) =>
            audit(client, request, {
              action: "restore.cancel",
              tenantId,
              runId: id,
              before: { status: restore.status },
              after: { status, cancelRequested: true },
            }),
          );
        });
        return answerCancelled(api, request, reply, run);
      },
    );
  };
}
