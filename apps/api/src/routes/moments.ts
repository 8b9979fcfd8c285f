import {
  getRestorePoint,
  getTenant,
  insertRestorePointRun,
  insertRun,
  listRestorePoints,
  withTenant,
} from "@rowback/db";
import type { HistoryParams, RestorePointParams } from "@rowback/jobs";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { audit } from "../audit.ts";
import { tenantCallerOf } from "../auth/caller.ts";
import { readableBackup } from "../backup-state.ts";
import type { ApiContext } from "../context.ts";
import { tablesOfBackup } from "../known-tables.ts";
import { newestBase, oldestBase, RecoveryWindowView, readRecoveryWindow } from "../moments.ts";
import { plainText } from "../plain-text.ts";
import { notFound } from "../problem.ts";
import { PageQuery, PROBLEMS, pageSchema } from "../responses.ts";
import { RestorePointView, toRestorePointView } from "../restore-point-view.ts";
import {
  answerWithRun,
  earlierRun,
  insertedRun,
  RUN_RESPONSES,
  RUN_TIMEOUT_MS,
  RunHeaders,
  requestedRun,
} from "../run-start.ts";
import { selectTables } from "../table-selection.ts";

const CreateRestorePoint = z.strictObject({ name: plainText(200) });

const HistoryQuery = z.strictObject({
  table: plainText(130).meta({ description: "`table` or `schema.table`, unquoted." }),
  key: z
    .preprocess(
      (given) => (typeof given === "string" ? [given] : given),
      z.array(z.string().max(10_000)).min(1).max(32),
    )
    .meta({ description: "The row's key; once for each of its columns, in the key's order, as PostgreSQL prints it." }),
  limit: PageQuery.limit,
  cursor: PageQuery.cursor,
});

export function momentRoutes(api: ApiContext): FastifyPluginAsyncZod {
  const { db } = api;
  return async (app) => {
    app.get(
      "/v1/recovery-window",
      {
        config: { access: "backup:read", auditNoun: "recovery-window" },
        schema: {
          tags: ["moments"],
          summary: "The moments the tenant can be brought back to, the gaps, and how far the capture is behind",
          response: { 200: RecoveryWindowView, ...PROBLEMS },
        },
      },
      (request) => withTenant(db, tenantCallerOf(request).tenantId, (client) => readRecoveryWindow(client, new Date())),
    );

    app.post(
      "/v1/restore-points",
      {
        config: { access: "backup:create", auditNoun: "restore-point" },
        handlerTimeout: RUN_TIMEOUT_MS,
        schema: {
          tags: ["moments"],
          summary: "Name this moment: a message in the WAL, exactly between two transactions",
          headers: RunHeaders,
          body: CreateRestorePoint,
          response: { ...RUN_RESPONSES, ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const { tenantId, userId } = tenantCallerOf(request);
        const asked = requestedRun("restore_point", request, userId);
        const run = await withTenant(db, tenantId, async (client) => {
          const earlier = await earlierRun(client, asked, { tenantId });
          if (earlier !== null) return earlier;
          const tenant = await getTenant(client, tenantId);
          if (tenant === null) throw notFound("tenant");
          const params: RestorePointParams = request.body;
          if ((await getRestorePoint(client, params.name)) !== null) {
            throw new RecoveryError("conflict", "There is a restore point of this name.", {
              hint: "Choose another name.",
              tenantId,
            });
          }
          const { sourceId } = tenant;
          const inserted = await insertRestorePointRun(client, { ...asked, tenantId, sourceId, params }, params.name);
          const { run, isNew } = insertedRun(inserted, tenantId);
          if (isNew)
            await audit(client, request, { action: "restore-point.create", tenantId, runId: run.id, after: params });
          return run;
        });
        return answerWithRun(api, request, reply, run);
      },
    );

    app.get(
      "/v1/restore-points",
      {
        config: { access: "backup:read", auditNoun: "restore-point" },
        schema: {
          tags: ["moments"],
          summary: "The tenant's restore points, newest first",
          querystring: z.strictObject(PageQuery),
          response: { 200: pageSchema(RestorePointView), ...PROBLEMS },
        },
      },
      async (request) => {
        const page = await withTenant(db, tenantCallerOf(request).tenantId, (client) =>
          listRestorePoints(client, request.query),
        );
        return { items: page.items.map(toRestorePointView), next: page.next };
      },
    );

    app.get(
      "/v1/history",
      {
        config: { access: "restore:preview", auditNoun: "history" },
        handlerTimeout: RUN_TIMEOUT_MS,
        schema: {
          tags: ["moments"],
          summary:
            "Every version of one row: when, by which transaction, and what it was. A run; `Prefer: wait` answers with its result",
          headers: RunHeaders,
          querystring: HistoryQuery,
          response: { ...RUN_RESPONSES, ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const { tenantId, userId } = tenantCallerOf(request);
        const { table, key, limit, cursor } = request.query;
        // What a GET asks for is in its query.
        const { headers, method, url, query } = request;
        const asked = requestedRun("history", { headers, method, url, body: query }, userId);
        const run = await withTenant(db, tenantId, async (client) => {
          const earlier = await earlierRun(client, asked, { tenantId });
          if (earlier !== null) return earlier;
          const newest = await newestBase(client);
          const known = newest === null ? [] : tablesOfBackup(await readableBackup(client, newest));
          const [label = table] = newest === null ? [] : selectTables([table], known, "table");
          const { tenant, backupId, epoch } = await oldestBase(client, label);
          const params: HistoryParams = { table: label, key, backupId, epoch, limit, after: cursor ?? null };
          const inserted = await insertRun(client, { ...asked, tenantId, sourceId: tenant.sourceId, params });
          const { run, isNew } = insertedRun(inserted, tenantId);
          if (isNew)
            await audit(client, request, { action: "history.read", tenantId, runId: run.id, after: { table: label } });
          return run;
        });
        return answerWithRun(api, request, reply, run);
      },
    );
  };
}
