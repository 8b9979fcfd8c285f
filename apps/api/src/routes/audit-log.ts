import { getTenant, listAuditEntries, withTenant } from "@rowback/db";
import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { readsOf } from "../audit-reads.ts";
import { AuditEntryView, toAuditEntryView } from "../audit-view.ts";
import { callerOf } from "../auth/caller.ts";
import { mayDo } from "../auth/permissions.ts";
import type { ApiContext } from "../context.ts";
import { plainText } from "../plain-text.ts";
import { notFound } from "../problem.ts";
import { PageQuery, PROBLEMS, pageSchema } from "../responses.ts";

const AuditQuery = z.strictObject({
  tenantId: z.uuid().optional().meta({ description: "For operators: whose entries; left out, those of no tenant." }),
  userId: plainText(200).optional(),
  action: plainText(100).optional().meta({ description: "Such as backup.create or backup.read." }),
  runId: z.uuid().optional(),
  from: z.iso.datetime({ offset: true }).optional().meta({ description: "At or after this moment." }),
  to: z.iso.datetime({ offset: true }).optional().meta({ description: "Before this moment." }),
  ...PageQuery,
});

export function auditLogRoutes({ db }: ApiContext): FastifyPluginAsyncZod {
  /** Whose log is asked for. Throws `not_found` for a tenant that is not the caller's, or does not exist. */
  async function tenantAskedFor(request: FastifyRequest, named: string | undefined): Promise<string | null> {
    const { tenant, isOperator } = callerOf(request);
    const own = tenant !== null && mayDo(tenant.role, "audit:read") ? tenant.id : null;
    const asked = named?.toLowerCase() ?? own;
    if (asked === null || asked === own) return asked;
    if (!isOperator || (await getTenant(db.system, asked)) === null) throw notFound("tenant");
    return asked;
  }

  return async (app) => {
    app.get(
      "/v1/audit-log",
      {
        config: { access: "audit:read" },
        schema: {
          tags: ["audit"],
          summary: "Who did and read what, when and from where, newest first",
          description:
            "Entries can't be changed or removed: each hash covers its entry and the hash before. Reads of the same thing by the same user and address within a minute are one entry.",
          querystring: AuditQuery,
          response: { 200: pageSchema(AuditEntryView), ...PROBLEMS },
        },
      },
      async (request) => {
        const { tenantId: named, userId, action, runId, from, to, limit, cursor } = request.query;
        const tenantId = await tenantAskedFor(request, named);
        readsOf(request, { tenantId });
        const filter = { userId, action, runId, from: dateOf(from), to: dateOf(to) };
        const page =
          tenantId === null
            ? await listAuditEntries(db.system, null, filter, { limit, cursor })
            : await withTenant(db, tenantId, (client) => listAuditEntries(client, tenantId, filter, { limit, cursor }));
        return { items: page.items.map(toAuditEntryView), next: page.next };
      },
    );
  };
}

function dateOf(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : new Date(text);
}
