import {
  getRestore,
  getSource,
  insertRestoreRun,
  listRestores,
  type Restore,
  RUN_STATES,
  requestCancel,
  type TenantClient,
  withTenant,
} from "@rowback/db";
import { ApplyRestoreParams, RestorePreviewParams, type UndoRestoreParams } from "@rowback/jobs";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { audit } from "../audit.ts";
import { requirePermission } from "../auth/authenticate.ts";
import { type TenantCaller, tenantCallerOf } from "../auth/caller.ts";
import { cancelledRun, readableBackup } from "../backup-state.ts";
import type { ApiContext } from "../context.ts";
import { tablesOfBackup } from "../known-tables.ts";
import { plainText } from "../plain-text.ts";
import { notFound } from "../problem.ts";
import { IdParams, optionalBody, PageQuery, PROBLEMS, pageSchema } from "../responses.ts";
import { RestoreView, toRestoreView } from "../restore-view.ts";
import { answerWithRun, insertedRun, RUN_RESPONSES, RUN_TIMEOUT_MS, RunHeaders, requestedRun } from "../run-start.ts";
import { RunView, toRunView } from "../run-view.ts";
import { selectTables, TableNames } from "../table-selection.ts";

const ChosenKeys = z.strictObject({
  table: plainText(130),
  keys: z
    .array(z.array(plainText(10_000)).min(1).max(32))
    .min(1)
    .max(10_000)
    .meta({ description: "Rows by the values of their key's columns, in the key's order, as text." }),
});

const PreviewRestore = z.strictObject({
  backupId: z.uuid(),
  mode: z.enum(["exact", "missing_only"]).default("exact").meta({
    description: "exact: the tables as they were. missing_only: bring back deleted rows, keep newer ones.",
  }),
  tables: TableNames.nullable().default(null),
  keys: z.array(ChosenKeys).min(1).max(50).nullable().default(null),
  triggers: z.enum(["suppress", "fire"]).default("suppress"),
  targetSourceId: z
    .uuid()
    .nullable()
    .default(null)
    .meta({ description: "Another source to restore into; for operators." }),
});
type PreviewRestore = z.infer<typeof PreviewRestore>;

const ApplyRestore = z.strictObject({
  previewId: z.uuid(),
  planDigest: plainText(200).meta({ description: "The digest that the preview showed: proof of what was agreed to." }),
});

const UndoRestore = optionalBody(
  z.strictObject({
    discardNewerChanges: z.boolean().default(false).meta({
      description: "true: lose what was written to the restored tables since; false: refuse with plan_stale.",
    }),
  }),
);

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
        await checkTarget(db, caller, request.body.targetSourceId);
        const run = await withTenant(db, tenantId, async (client) => {
          const backup = await readableBackup(client, request.body.backupId);
          const params = RestorePreviewParams.parse({
            ...request.body,
            ...chosenRows(request.body, tablesOfBackup(backup)),
          });
          const inserted = await insertRestoreRun(
            client,
            { ...requestedRun("restore_preview", request, caller.userId), tenantId, sourceId: backup.sourceId, params },
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
        const run = await withTenant(db, tenantId, async (client) => {
          const preview = await agreedPreview(client, request.body.previewId, request.body.planDigest);
          await readableBackup(client, preview.backupId);
          const params = ApplyRestoreParams.parse({
            ...RestorePreviewParams.parse(preview.params),
            previewRunId: preview.id,
            planDigest: request.body.planDigest,
          });
          const inserted = await insertRestoreRun(
            client,
            { ...requestedRun("restore", request, userId), tenantId, sourceId: preview.sourceId, params },
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
        const run = await withTenant(db, tenantId, async (client) => {
          const { restore, backupId } = await undoableRestore(client, request.params.id);
          const params: UndoRestoreParams = {
            undoOf: restore.id,
            discardNewerChanges: request.body.discardNewerChanges,
          };
          const inserted = await insertRestoreRun(
            client,
            { ...requestedRun("restore", request, userId), tenantId, sourceId: restore.sourceId, params },
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
          return cancelledRun(await requestCancel(client, id), "restore", () =>
            audit(client, request, { action: "restore.cancel", tenantId, runId: id }),
          );
        });
        return reply.code(202).header("location", `/v1/runs/${id}`).send(toRunView(run));
      },
    );
  };
}

/**
 * Another source than the tenant's own may hold other customers: only an operator may send a tenant's rows there,
 * and nobody else learns which sources exist.
 */
async function checkTarget(db: ApiContext["db"], caller: TenantCaller, targetSourceId: string | null): Promise<void> {
  if (targetSourceId === null) return;
  if (!caller.isOperator) {
    throw new RecoveryError("forbidden", "Only an operator may restore into another source.", {
      hint: "Leave targetSourceId out, or ask an operator.",
    });
  }
  if ((await getSource(db.system, targetSourceId)) === null) throw notFound("source");
}

/** The chosen tables and keys by the backup's own names. */
function chosenRows(
  { tables, keys }: PreviewRestore,
  known: ReturnType<typeof tablesOfBackup>,
): Pick<RestorePreviewParams, "tables" | "keys"> {
  const keyed =
    keys === null
      ? []
      : selectTables(
          keys.map(({ table }) => table),
          known,
          "keys",
        );
  return {
    tables: tables === null ? null : selectTables(tables, known),
    keys: keys?.map(({ keys: rows }, index) => ({ table: keyed[index] ?? "", keys: rows })) ?? null,
  };
}

/** Chosen keys are customers' data, and may be many: the audit log counts on the run's row for them. */
function withoutKeys<T extends { keys: unknown }>({ keys: _keys, ...rest }: T): Omit<T, "keys"> {
  return rest;
}

/** The preview, if it is the tenant's, succeeded, and showed this plan. */
async function agreedPreview(client: TenantClient, previewId: string, planDigest: string): Promise<Restore> {
  const preview = await getRestore(client, previewId);
  if (preview === null || preview.kind !== "restore_preview") throw notFound("preview");
  const context = { runId: preview.id, tenantId: preview.tenantId };
  if (preview.status !== "succeeded") {
    throw new RecoveryError("conflict", `The preview has not succeeded; it is ${preview.status}.`, {
      hint: "Wait for the preview's end, or make a new one.",
      ...context,
    });
  }
  if (preview.planDigest !== planDigest) {
    throw new RecoveryError("plan_stale", "The preview showed another plan than the one agreed to.", {
      hint: "Look at the preview again, and quote its planDigest.",
      ...context,
    });
  }
  return preview;
}

/** The restore, if it can be undone, and the backup to undo it from. */
async function undoableRestore(client: TenantClient, id: string): Promise<{ restore: Restore; backupId: string }> {
  const restore = await getRestore(client, id);
  if (restore === null || restore.kind !== "restore") throw notFound("restore");
  const context = { runId: restore.id, tenantId: restore.tenantId };
  if (restore.status !== "succeeded") {
    throw new RecoveryError("conflict", `The restore has changed nothing to undo; it is ${restore.status}.`, context);
  }
  if (restore.preRestoreBackupId === null) {
    throw new RecoveryError("conflict", "The restore found nothing to change, so there is nothing to undo.", context);
  }
  await readableBackup(client, restore.preRestoreBackupId);
  return { restore, backupId: restore.preRestoreBackupId };
}
