import {
  BACKUP_TYPES,
  getBackup,
  getTenant,
  insertBackupRun,
  insertRun,
  listBackups,
  RUN_STATES,
  requestCancel,
  softDeleteBackup,
  type TenantClient,
  undeleteBackup,
  withTenant,
} from "@rowback/db";
import type { BackupParams, BackupVerifyParams } from "@rowback/jobs";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { audit } from "../audit.ts";
import { tenantCallerOf } from "../auth/caller.ts";
import { requireBackupAllowance, requireRoom } from "../backup-allowance.ts";
import { cancelledRun, readableBackup } from "../backup-state.ts";
import { BackupView, toBackupView } from "../backup-view.ts";
import type { ApiContext } from "../context.ts";
import { discoveredTables } from "../known-tables.ts";
import { notFound } from "../problem.ts";
import { IdParams, optionalBody, PageQuery, PROBLEMS, pageSchema } from "../responses.ts";
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
import { selectTables, TableNames } from "../table-selection.ts";

const CreateBackup = optionalBody(
  z.strictObject({
    tables: TableNames.nullable().default(null),
    type: z.literal("full").default("full").meta({ description: "Incremental backups are not offered yet." }),
  }),
);

const BackupQuery = z.strictObject({
  status: z.enum(RUN_STATES).optional(),
  type: z.enum(BACKUP_TYPES).optional(),
  from: z.iso.datetime({ offset: true }).optional().meta({ description: "Created at or after this moment." }),
  to: z.iso.datetime({ offset: true }).optional().meta({ description: "Created before this moment." }),
  deleted: z
    .enum(["true", "false"])
    .default("false")
    .meta({ description: "Show deleted backups too, until they are purged." }),
  ...PageQuery,
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
      async (request, reply) => {
        const { tenantId, userId } = tenantCallerOf(request);
        const run = await withTenant(db, tenantId, async (client) => {
          const asked = requestedRun("backup", request, userId);
          const earlier = await earlierRun(client, asked, { tenantId });
          if (earlier !== null) return earlier;
          const { sourceId, tables } = await chosenTables(client, request.body.tables);
          await requireRoom(client, tables);
          const params: BackupParams = { tables, purpose: "manual" };
          const inserted = await insertBackupRun(
            client,
            { ...asked, tenantId, sourceId, params },
            { type: "full", purpose: "manual", tables },
          );
          const { run, isNew } = insertedRun(inserted, tenantId);
          if (isNew) {
            await requireBackupAllowance(client, reply, api.limits, userId);
            await audit(client, request, { action: "backup.create", tenantId, sourceId, runId: run.id, after: params });
          }
          return run;
        });
        return answerWithRun(api, request, reply, run);
      },
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
        const filter = { status, type, from: dateOf(from), to: dateOf(to), includeDeleted: deleted === "true" };
        const page = await withTenant(db, tenantCallerOf(request).tenantId, (client) =>
          listBackups(client, filter, { limit, cursor }),
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
          summary: "A backup and what is in it",
          params: IdParams,
          response: { 200: BackupView, ...PROBLEMS },
        },
      },
      async (request) => {
        const backup = await withTenant(db, tenantCallerOf(request).tenantId, (client) =>
          getBackup(client, request.params.id),
        );
        if (backup === null) throw notFound("backup");
        return toBackupView(backup);
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
          response: { 200: BackupView, ...PROBLEMS },
        },
      },
      async (request) => {
        const { tenantId } = tenantCallerOf(request);
        const { id } = request.params;
        return withTenant(db, tenantId, async (client) => {
          const result = await softDeleteBackup(client, id);
          if (result === null) throw notFound("backup");
          if (result.outcome === "in_progress") {
            throw new RecoveryError("conflict", "The backup is still being made.", {
              hint: "Cancel it first.",
              runId: id,
              tenantId,
            });
          }
          if (result.outcome === "has_dependents") {
            const detail = `${result.dependents.length} other backups stand on this one: ${result.dependents.slice(0, 10).join(", ")}.`;
            throw new RecoveryError("conflict", detail, { hint: "Delete those first.", runId: id, tenantId });
          }
          await audit(client, request, {
            action: "backup.delete",
            tenantId,
            runId: id,
            before: { deleted: false },
            after: { deleted: true },
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
      async (request, reply) => {
        const { tenantId, userId } = tenantCallerOf(request);
        const run = await withTenant(db, tenantId, async (client) => {
          const asked = requestedRun("backup_verify", request, userId);
          const earlier = await earlierRun(client, asked, { tenantId });
          if (earlier !== null) return earlier;
          const backup = await readableBackup(client, request.params.id);
          const params: BackupVerifyParams = { backupId: backup.id };
          const inserted = await insertRun(client, { ...asked, tenantId, sourceId: backup.sourceId, params });
          const { run, isNew } = insertedRun(inserted, tenantId);
          if (isNew) await audit(client, request, { action: "backup.verify", tenantId, runId: run.id, after: params });
          return run;
        });
        return answerWithRun(api, request, reply, run);
      },
    );
  };
}

/** The labels of the named tables (null: all), and the source they are in. */
async function chosenTables(
  client: TenantClient,
  names: readonly string[] | null,
): Promise<{ sourceId: string; tables: string[] | null }> {
  if (names !== null) {
    const { sourceId, tables } = await discoveredTables(client);
    return { sourceId, tables: selectTables(names, tables) };
  }
  const tenant = await getTenant(client, client.tenantId);
  if (tenant === null) throw notFound("tenant");
  return { sourceId: tenant.sourceId, tables: null };
}

function dateOf(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : new Date(text);
}
