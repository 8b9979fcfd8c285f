import {
  type BackupFilter,
  getBackup,
  insertBackupRun,
  insertRun,
  listBackups,
  listChain,
  RUN_STATES,
  requestCancel,
  softDeleteBackup,
  softDeleteChain,
  undeleteBackup,
  withTenant,
} from "@rowback/db";
import type { BackupVerifyParams } from "@rowback/jobs";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { audit } from "../audit.ts";
import { tenantCallerOf } from "../auth/caller.ts";
import { requireBackupAllowance, requireRoom } from "../backup-allowance.ts";
import { BACKUP_KINDS, type BackupKind, CreateBackup, chosenBackup } from "../backup-request.ts";
import { cancelledRun, readableBackup } from "../backup-state.ts";
import { BackupDetail, BackupView, toBackupDetail, toBackupView } from "../backup-view.ts";
import type { ApiContext } from "../context.ts";
import { notFound } from "../problem.ts";
import { IdParams, PageQuery, PROBLEMS, pageSchema } from "../responses.ts";
import { answerCancelled } from "../run-cancel.ts";
import { RUN_RESPONSES, RUN_TIMEOUT_MS, RunHeaders } from "../run-start.ts";
import { RunView } from "../run-view.ts";
import { answerTenantRun } from "../tenant-run.ts";

const BackupQuery = z.strictObject({
  status: z.enum(RUN_STATES).optional(),
  type: z.enum(BACKUP_KINDS).optional(),
  from: z.iso.datetime({ offset: true }).optional().meta({ description: "Created at or after this moment." }),
  to: z.iso.datetime({ offset: true }).optional().meta({ description: "Created before this moment." }),
  deleted: z
    .enum(["true", "false"])
    .default("false")
    .meta({ description: "Show deleted backups too, until they are purged." }),
  ...PageQuery,
});

const DeleteQuery = z.strictObject({
  dependents: z
    .enum(["refuse", "delete"])
    .default("refuse")
    .meta({ description: "delete: what stands on it goes too; refuse: 409 names what does." }),
});

export function backupRoutes(api: ApiContext): FastifyPluginAsyncZod {
  const { db } = api;
  return async (app) => {
    app.post(
      "/v1/backups",
      {
        config: { access: "backup:create" },
        handlerTimeout: RUN_TIMEOUT_MS,
        schema: {
          tags: ["backups"],
          summary: "Back up the tenant: all its protected tables, or the named ones",
          headers: RunHeaders,
          body: CreateBackup,
          response: { ...RUN_RESPONSES, ...PROBLEMS },
        },
      },
      (request, reply) =>
        answerTenantRun(
          api,
          request,
          reply,
          "backup",
          async (client, asked) => {
            const { sourceId, params, backup } = await chosenBackup(client, request.body);
            await requireRoom(client, backup);
            const inserted = await insertBackupRun(client, { ...asked, sourceId, params }, backup);
            return { inserted, note: { action: "backup.create", sourceId, after: params } };
          },
          { onNew: (client) => requireBackupAllowance(client, reply, api.limits, tenantCallerOf(request).userId) },
        ),
    );

    app.get(
      "/v1/backups",
      {
        config: { access: "backup:read" },
        schema: {
          tags: ["backups"],
          summary: "The tenant's backups, newest first",
          querystring: BackupQuery,
          response: { 200: pageSchema(BackupView), ...PROBLEMS },
        },
      },
      async (request) => {
        const { status, type, from, to, deleted, limit, cursor } = request.query;
        const filter = { status, from: dateOf(from), to: dateOf(to), includeDeleted: deleted === "true" };
        const page = await withTenant(db, tenantCallerOf(request).tenantId, (client) =>
          listBackups(client, { ...filter, ...kindFilter(type) }, { limit, cursor }),
        );
        return { items: page.items.map(toBackupView), next: page.next };
      },
    );

    app.get(
      "/v1/backups/:id",
      {
        config: { access: "backup:read" },
        schema: {
          tags: ["backups"],
          summary: "A backup, what is in it, and what it stands on",
          params: IdParams,
          response: { 200: BackupDetail, ...PROBLEMS },
        },
      },
      async (request) => {
        const chain = await withTenant(db, tenantCallerOf(request).tenantId, (client) =>
          listChain(client, request.params.id),
        );
        const backup = chain.at(-1);
        if (backup === undefined) throw notFound("backup");
        return toBackupDetail(backup, chain);
      },
    );

    app.delete(
      "/v1/backups/:id",
      {
        config: { access: "backup:delete" },
        schema: {
          tags: ["backups"],
          summary: "Delete a backup; it can be undeleted until the tenant's grace is over",
          params: IdParams,
          querystring: DeleteQuery,
          response: { 200: BackupView, ...PROBLEMS },
        },
      },
      async (request) => {
        const { tenantId } = tenantCallerOf(request);
        const { id } = request.params;
        return withTenant(db, tenantId, async (client) => {
          const withDependents = request.query.dependents === "delete";
          const result = await (withDependents ? softDeleteChain(client, id) : softDeleteBackup(client, id));
          if (result === null) throw notFound("backup");
          if (result.outcome === "in_progress") {
            throw new RecoveryError("conflict", "The backup, or one that stands on it, is still being made.", {
              hint: "Cancel that first.",
              runId: id,
              tenantId,
            });
          }
          if (result.outcome === "has_dependents") {
            const detail = `${result.dependents.length} other backups stand on this one: ${result.dependents.slice(0, 10).join(", ")}.`;
            const hint = "Delete those first, or all of them with ?dependents=delete.";
            throw new RecoveryError("conflict", detail, { hint, runId: id, tenantId });
          }
          await audit(client, request, {
            action: "backup.delete",
            tenantId,
            runId: id,
            before: { deleted: false },
            after: { deleted: true, ...(withDependents ? { withDependents } : {}) },
          });
          return toBackupView(result.backup);
        });
      },
    );

    app.post(
      "/v1/backups/:id/undelete",
      {
        config: { access: "backup:delete" },
        schema: {
          tags: ["backups"],
          summary: "Take a deletion back",
          params: IdParams,
          response: { 200: BackupView, ...PROBLEMS },
        },
      },
      async (request) => {
        const { tenantId } = tenantCallerOf(request);
        const { id } = request.params;
        return withTenant(db, tenantId, async (client) => {
          const result = await undeleteBackup(client, id);
          if (result === null) throw notFound("backup");
          if (result.outcome === "purged") {
            throw new RecoveryError("conflict", "The grace is over; the backup's objects are gone.", {
              runId: id,
              tenantId,
            });
          }
          if (result.outcome === "stands_on_deleted") {
            const detail = `The backup stands on others that are deleted: ${result.deleted.join(", ")}.`;
            throw new RecoveryError("conflict", detail, { hint: "Undelete those first.", runId: id, tenantId });
          }
          await audit(client, request, {
            action: "backup.undelete",
            tenantId,
            runId: id,
            before: { deleted: true },
            after: { deleted: false },
          });
          return toBackupView(result.backup);
        });
      },
    );

    app.post(
      "/v1/backups/:id/cancel",
      {
        config: { access: "backup:cancel" },
        schema: {
          tags: ["backups"],
          summary: "Stop a backup that is queued or running",
          params: IdParams,
          response: { 202: RunView, ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const { tenantId } = tenantCallerOf(request);
        const { id } = request.params;
        const run = await withTenant(db, tenantId, async (client) => {
          const before = await getBackup(client, id);
          if (before === null) throw notFound("backup");
          return cancelledRun(await requestCancel(client, id), "backup", ({ status }) =>
            audit(client, request, {
              action: "backup.cancel",
              tenantId,
              runId: id,
              before: { status: before.status },
              after: { status, cancelRequested: true },
            }),
          );
        });
        return answerCancelled(api, request, reply, run);
      },
    );

    app.post(
      "/v1/backups/:id/verify",
      {
        config: { access: "backup:verify" },
        handlerTimeout: RUN_TIMEOUT_MS,
        schema: {
          tags: ["backups"],
          summary: "Read every stored byte of a backup and check it",
          params: IdParams,
          headers: RunHeaders,
          response: { ...RUN_RESPONSES, ...PROBLEMS },
        },
      },
      (request, reply) =>
        answerTenantRun(api, request, reply, "backup_verify", async (client, asked) => {
          const { id: backupId, sourceId } = await readableBackup(client, request.params.id);
          const params: BackupVerifyParams = { backupId };
          const inserted = await insertRun(client, { ...asked, sourceId, params });
          return { inserted, note: { action: "backup.verify", after: params } };
        }),
    );
  };
}

/** What a client calls a type is a type and where the rows came from. */
function kindFilter(kind: BackupKind | undefined): Pick<BackupFilter, "type" | "madeFrom"> {
  if (kind === undefined) return {};
  if (kind === "incremental") return { type: "incremental" };
  return { type: "full", madeFrom: kind === "full" ? "source" : "log" };
}

function dateOf(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : new Date(text);
}
