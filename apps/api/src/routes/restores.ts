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
import { RUN_RESPONSES, RUN_TIMEOUT_MS, RunHeaders } from "../run-start.ts";
import { RunView } from "../run-view.ts";
import { answerTenantRun } from "../tenant-run.ts";

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
      (request, reply) =>
        answerTenantRun(api, request, reply, "restore_preview", async (client, asked) => {
          await checkTarget(db, tenantCallerOf(request), request.body.targetSourceId);
          const { target: _, ...wish } = request.body;
          const { backup, rows, moment } = await chosenTarget(client, request.body);
          const params = RestorePreviewParams.parse({ ...wish, ...rows, backupId: backup.id, moment });
          const { sourceId } = backup;
          const inserted = await insertRestoreRun(
            client,
            { ...asked, sourceId, params },
            { ...params, targetSourceId: params.targetSourceId ?? sourceId },
          );
          return { inserted, note: { action: "restore.preview", after: withoutKeys(params) } };
        }),
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
      (request, reply) =>
        answerTenantRun(api, request, reply, "restore", async (client, asked) => {
          const { previewId, planDigest } = request.body;
          const preview = await agreedPreview(client, previewId, planDigest);
          await readableBackup(client, preview.backupId);
          const { sourceId, targetSourceId } = preview;
          const wish = RestorePreviewParams.parse(preview.params);
          const params = ApplyRestoreParams.parse({ ...wish, previewRunId: preview.id, planDigest });
          const inserted = await insertRestoreRun(
            client,
            { ...asked, sourceId, params },
            { ...params, targetSourceId },
          );
          return { inserted, note: { action: "restore.apply", after: withoutKeys(params) } };
        }),
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
      (request, reply) =>
        answerTenantRun(api, request, reply, "restore", async (client, asked) => {
          const { restore, backupId } = await undoableRestore(client, request.params.id);
          const { id: undoOf, sourceId, targetSourceId } = restore;
          const params: UndoRestoreParams = { undoOf, discardNewerChanges: request.body.discardNewerChanges };
          const inserted = await insertRestoreRun(
            client,
            { ...asked, sourceId, params },
            { targetSourceId, backupId, mode: "exact", tables: null, keys: null, undoOf },
          );
          return { inserted, note: { action: "restore.undo", after: params } };
        }),
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
