import { randomUUID } from "node:crypto";
import {
  countStoredBackups,
  destroyTenantKey,
  getErasure,
  getSource,
  getTenant,
  getTenantKey,
  insertErasure,
  insertRun,
  lastPurge,
  markTenantErased,
  type SystemClient,
  type Tenant,
  withSystem,
} from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import { ErasureCertificate, erasureCertificate } from "@rowback/recovery/plans";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { audit } from "../audit.ts";
import { callerOf } from "../auth/caller.ts";
import type { ApiContext } from "../context.ts";
import { plainText } from "../plain-text.ts";
import { notFound } from "../problem.ts";
import { IdParams, PROBLEMS } from "../responses.ts";
import {
  answerWithRun,
  earlierRun,
  insertedRun,
  RUN_RESPONSES,
  RUN_TIMEOUT_MS,
  RunHeaders,
  requestedRun,
} from "../run-start.ts";
import { isoOrNull } from "../run-view.ts";

ErasureCertificate.register(z.globalRegistry, { id: "ErasureCertificate" });

const EraseTenant = z.strictObject({
  confirm: plainText(200).meta({ description: "The tenant's name, as it is: what follows can't be undone." }),
});

const ErasureView = z
  .object({
    tenantId: z.uuid(),
    runId: z.uuid(),
    purgedAt: z.iso
      .datetime()
      .nullable()
      .meta({ description: "When no object of the tenant was left; null until then." }),
    certificate: ErasureCertificate,
  })
  .meta({ id: "Erasure" });

/** Ending what is stored of a tenant: at once by destroying its key, then by purging its objects. */
export function erasureRoutes(api: ApiContext): FastifyPluginAsyncZod {
  const { db } = api;
  const access = "tenant:manage";
  return async (app) => {
    app.post(
      "/v1/tenants/:id/erase",
      {
        config: { access },
        handlerTimeout: RUN_TIMEOUT_MS,
        schema: {
          tags: ["tenants"],
          summary: "Destroy a tenant's data key for ever, and purge all that is stored of it",
          params: IdParams,
          headers: RunHeaders,
          body: EraseTenant,
          response: { ...RUN_RESPONSES, ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const tenantId = request.params.id;
        const { userId } = callerOf(request);
        const run = await withSystem(db, async (client) => {
          const asked = requestedRun("tenant_erase", request, userId);
          const earlier = await earlierRun(client, asked, { tenantId });
          if (earlier !== null) return earlier;
          const tenant = await getTenant(client, tenantId);
          if (tenant === null) throw notFound("tenant");
          if (request.body.confirm !== tenant.name) throw notConfirmed(tenantId);
          const erasedAt = await markTenantErased(client, tenantId);
          // Erased before, perhaps a moment ago by somebody else: what was asked for is done, by that run, unless it gave up.
          const purge = erasedAt === null ? await lastPurge(client, tenantId) : null;
          if (purge !== null && !["failed", "cancelled"].includes(purge.status)) return purge;
          const { run } = insertedRun(
            await insertRun(client, { ...asked, tenantId, sourceId: tenant.sourceId, params: {} }),
          );
          if (erasedAt === null) return run;
          const certificate = await destroy(client, tenant, { runId: run.id, erasedAt, erasedBy: userId });
          await insertErasure(client, { tenantId, runId: run.id, certificate });
          const { dataKey, backups, digest } = certificate;
          await audit(client, request, {
            action: "tenant.erase",
            tenantId,
            sourceId: tenant.sourceId,
            runId: run.id,
            after: { dataKey, backups, certificateDigest: digest },
          });
          return run;
        });
        return answerWithRun(api, request, reply, run);
      },
    );

    app.get(
      "/v1/tenants/:id/erasure",
      {
        config: { access },
        schema: {
          tags: ["tenants"],
          summary: "The certificate of a tenant's erasure, and whether the purge is done",
          params: IdParams,
          response: { 200: ErasureView, ...PROBLEMS },
        },
      },
      async (request) => {
        const erasure = await getErasure(db.system, request.params.id);
        if (erasure === null) throw notFound("erasure");
        const { tenantId, runId, purgedAt } = erasure;
        return {
          tenantId,
          runId,
          purgedAt: isoOrNull(purgedAt),
          certificate: ErasureCertificate.parse(erasure.certificate),
        };
      },
    );
  };
}

/** The deed itself, and the certificate of it. */
async function destroy(
  client: SystemClient,
  tenant: Tenant,
  { runId, erasedAt, erasedBy }: { readonly runId: string; readonly erasedAt: Date; readonly erasedBy: string },
): Promise<ErasureCertificate> {
  const key = await getTenantKey(client, { tenantId: tenant.id });
  const [backups, source] = [await countStoredBackups(client, tenant.id), await getSource(client, tenant.sourceId)];
  await destroyTenantKey(client, tenant.id, randomUUID());
  const masterKeyId = key?.masterKeyId ?? null;
  return erasureCertificate({
    tenant: { id: tenant.id, name: tenant.name },
    source: { id: tenant.sourceId, name: source?.name ?? "" },
    runId,
    erasedAt: erasedAt.toISOString(),
    erasedBy,
    dataKey:
      key === null || masterKeyId === null ? null : { id: key.id, createdAt: key.createdAt.toISOString(), masterKeyId },
    backups,
  });
}

function notConfirmed(tenantId: string): RecoveryError {
  return new RecoveryError("invalid_request", "`confirm` is not the tenant's name, so nothing was erased.", {
    tenantId,
    hint: "Send the name exactly as GET /v1/tenants/:id shows it; erasing can't be undone.",
  });
}
