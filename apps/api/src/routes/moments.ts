import {
  getRestorePoint,
  getTenant,
  insertRestorePointRun,
  insertRun,
  listRestorePoints,
  type TenantClient,
  withTenant,
} from "@rowback/db";
import type { HistoryParams, RestorePointParams } from "@rowback/jobs";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { tenantCallerOf } from "../auth/caller.ts";
import { readableBackup } from "../backup-state.ts";
import type { ApiContext } from "../context.ts";
import { tablesOfBackup } from "../known-tables.ts";
import { newestBase, oldestBase, RecoveryWindowView, readRecoveryWindow } from "../moments.ts";
import { plainText } from "../plain-text.ts";
import { notFound } from "../problem.ts";
import { PageQuery, PROBLEMS, pageSchema } from "../responses.ts";
import { RestorePointView, toRestorePointView } from "../restore-point-view.ts";
import { chosenLabels } from "../restore-request.ts";
import { RUN_RESPONSES, RUN_TIMEOUT_MS, RunHeaders } from "../run-start.ts";
import { selectTables, TableNames } from "../table-selection.ts";
import { type AskedRun, answerTenantRun, type BegunRun } from "../tenant-run.ts";

const CreateRestorePoint = z.strictObject({ name: plainText(200) });

/** What a query names once or several times. */
const listed = <T extends z.ZodType>(list: T) =>
  z.preprocess((given) => (typeof given === "string" ? [given] : given), list);

const WindowQuery = z.strictObject({
  tables: listed(TableNames.nullable().default(null)).meta({
    description: "The window of these tables alone, as a restore of them has it; once for each. Left out: of all.",
  }),
});

const HistoryQuery = z.strictObject({
  table: plainText(130).meta({ description: "`table` or `schema.table`, unquoted." }),
  key: listed(z.array(z.string().max(10_000)).min(1).max(32)).meta({
    description: "The row's key; once for each of its columns, in the key's order, as PostgreSQL prints it.",
  }),
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
          querystring: WindowQuery,
          response: { 200: RecoveryWindowView, ...PROBLEMS },
        },
      },
      (request) =>
        withTenant(db, tenantCallerOf(request).tenantId, async (client) => {
          const tables = await chosenLabels(client, { tables: request.query.tables, keys: null });
          return readRecoveryWindow(client, tables, new Date());
        }),
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
      (request, reply) =>
        answerTenantRun(api, request, reply, "restore_point", async (client, asked) => {
          const { tenantId } = asked;
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
          const inserted = await insertRestorePointRun(client, { ...asked, sourceId, params }, params.name);
          return { inserted, note: { action: "restore-point.create", after: params } };
        }),
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
      (request, reply) => {
        const { table, key, limit, cursor } = request.query;
        const begin = async (client: TenantClient, asked: AskedRun<"history">): Promise<BegunRun> => {
          const newest = await newestBase(client);
          const known = newest === null ? [] : tablesOfBackup(await readableBackup(client, newest));
          const [label = table] = newest === null ? [] : selectTables([table], known, "table");
          const { tenant, backupId, epoch } = await oldestBase(client, label);
          const params: HistoryParams = { table: label, key, backupId, epoch, limit, after: cursor ?? null };
          const inserted = await insertRun(client, { ...asked, sourceId: tenant.sourceId, params });
          return { inserted, note: { action: "history.read", after: { table: label } } };
        };
        // What a GET asks for is in its query.
        return answerTenantRun(api, request, reply, "history", begin, { asks: request.query });
      },
    );
  };
}
