import { type ApiKey, getApiKey, insertApiKey, listApiKeys, revokeApiKey, withTenant } from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { audit } from "../audit.ts";
import { newApiKey } from "../auth/api-key.ts";
import { callerOf, isAllowed, tenantCallerOf } from "../auth/caller.ts";
import { KEY_SCOPES } from "../auth/permissions.ts";
import type { ApiContext } from "../context.ts";
import { plainText } from "../plain-text.ts";
import { notFound } from "../problem.ts";
import { IdParams, PageQuery, PROBLEMS, pageSchema } from "../responses.ts";
import { isoOrNull } from "../run-view.ts";

const DAY_MS = 24 * 3_600_000;
/** A key that nobody remembers must end by itself. */
const MAX_DAYS = 366;

const Scopes = z.array(z.enum(KEY_SCOPES)).min(1).max(KEY_SCOPES.length);

const ApiKeyView = z
  .object({
    id: z.uuid(),
    name: z.string(),
    prefix: z.string().meta({ description: "How the key begins: enough to tell which one turned up somewhere." }),
    scopes: z.array(z.string()),
    createdBy: z.string(),
    createdAt: z.iso.datetime(),
    expiresAt: z.iso.datetime(),
    revokedAt: z.iso.datetime().nullable(),
    revokedBy: z.string().nullable(),
    lastUsedAt: z.iso.datetime().nullable().meta({ description: "To ten minutes." }),
  })
  .meta({ id: "ApiKey" });

const NewApiKeyView = ApiKeyView.extend({
  key: z.string().meta({ description: "Shown this once; only its hash is kept." }),
}).meta({ id: "NewApiKey" });

const CreateApiKey = z.strictObject({
  name: plainText(100).meta({ description: "What uses it." }),
  scopes: Scopes.meta({ description: "Permissions, of those that your role includes." }),
  expiresInDays: z.int().min(1).max(MAX_DAYS).default(90),
});

const ApiKeyQuery = z.strictObject({
  ended: z.enum(["true", "false"]).default("false").meta({ description: "Show expired and revoked keys too." }),
  ...PageQuery,
});

/** A tenant's API keys. A key acts as the member who made it; its permissions end with his, and it with his membership. */
export function apiKeyRoutes({ db }: ApiContext): FastifyPluginAsyncZod {
  const access = "api-key:create";
  return async (app) => {
    app.post(
      "/v1/api-keys",
      {
        config: { access },
        schema: {
          tags: ["api-keys"],
          summary: "Make an API key for one tenant, with some of your permissions and an end; it is shown this once",
          body: CreateApiKey,
          response: { 201: NewApiKeyView, ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const { tenantId, userId } = tenantCallerOf(request);
        const { name, expiresInDays } = request.body;
        const scopes = grantable(request, request.body.scopes);
        const { text, prefix, secretSha256 } = newApiKey();
        const expiresAt = new Date(Date.now() + expiresInDays * DAY_MS);
        const key = await withTenant(db, tenantId, async (client) => {
          const inserted = await insertApiKey(client, {
            name,
            prefix,
            secretSha256,
            scopes,
            createdBy: userId,
            expiresAt,
          });
          await audit(client, request, { action: "api-key.create", tenantId, after: toApiKeyView(inserted) });
          return inserted;
        });
        return reply
          .code(201)
          .header("location", `/v1/api-keys/${key.id}`)
          .header("cache-control", "no-store")
          .send({ ...toApiKeyView(key), key: text });
      },
    );

    app.get(
      "/v1/api-keys",
      {
        config: { access },
        schema: {
          tags: ["api-keys"],
          summary: "Your API keys, newest first; for an owner or admin all of the tenant's",
          querystring: ApiKeyQuery,
          response: { 200: pageSchema(ApiKeyView), ...PROBLEMS },
        },
      },
      async (request) => {
        const { ended, limit, cursor } = request.query;
        const filter = { createdBy: onlyOwn(request), includeEnded: ended === "true" };
        const page = await withTenant(db, tenantCallerOf(request).tenantId, (client) =>
          listApiKeys(client, filter, { limit, cursor }),
        );
        return { items: page.items.map(toApiKeyView), next: page.next };
      },
    );

    app.delete(
      "/v1/api-keys/:id",
      {
        config: { access },
        schema: {
          tags: ["api-keys"],
          summary: "Revoke an API key; its next request is refused",
          params: IdParams,
          response: { 204: z.undefined(), ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const { tenantId, userId } = tenantCallerOf(request);
        const { id } = request.params;
        await withTenant(db, tenantId, async (client) => {
          const key = await getApiKey(client, id);
          const maker = onlyOwn(request);
          if (key === null || (maker !== undefined && key.createdBy !== maker)) throw notFound("API key");
          // Revoked before: what was asked for is so, and the log tells of it already.
          if (!(await revokeApiKey(client, id, userId))) return;
          await audit(client, request, { action: "api-key.revoke", tenantId, before: toApiKeyView(key) });
        });
        return reply.code(204).send();
      },
    );
  };
}

/** The scopes, once each, if the maker's role includes them all. Throws `forbidden`. */
function grantable(request: FastifyRequest, scopes: z.infer<typeof Scopes>): string[] {
  const caller = callerOf(request);
  const beyond = scopes.filter((scope) => !isAllowed(caller, scope));
  if (beyond.length > 0) {
    throw new RecoveryError("forbidden", `Your role does not include ${beyond.join(", ")}.`, {
      hint: "A key can do no more than its maker: leave these scopes out.",
    });
  }
  return [...new Set(scopes)].toSorted();
}

/** The maker whose keys the caller may see; undefined: everybody's. */
function onlyOwn(request: FastifyRequest): string | undefined {
  const caller = callerOf(request);
  return isAllowed(caller, "api-key:manage") ? undefined : caller.userId;
}

function toApiKeyView(key: ApiKey): z.infer<typeof ApiKeyView> {
  return {
    id: key.id,
    name: key.name,
    prefix: `rbk_${key.prefix}`,
    scopes: key.scopes,
    createdBy: key.createdBy,
    createdAt: key.createdAt.toISOString(),
    expiresAt: key.expiresAt.toISOString(),
    revokedAt: isoOrNull(key.revokedAt),
    revokedBy: key.revokedBy,
    lastUsedAt: isoOrNull(key.lastUsedAt),
  };
}
