import {
  getSource,
  getTenant,
  insertTenant,
  listMembers,
  listMemberships,
  listTenants,
  MEMBER_ROLES,
  type Membership,
  removeMember,
  setMember,
  type Tenant,
  withSystem,
} from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { audit } from "../audit.ts";
import { callerOf } from "../auth/caller.ts";
import type { ApiContext } from "../context.ts";
import { plainText } from "../plain-text.ts";
import { notFound } from "../problem.ts";
import { IdParams, PageQuery, PROBLEMS, pageSchema } from "../responses.ts";

const UserId = plainText(200);
const RoleName = z.enum(MEMBER_ROLES);

const TenantView = z
  .object({
    id: z.uuid(),
    name: z.string(),
    sourceId: z.uuid(),
    key: z.string().meta({ description: "The value that scopes the tenant's rows in the source." }),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: "Tenant" });

/** In a member's list a tenant has a role, in an operator's the rest. */
const ListedTenant = TenantView.partial({ sourceId: true, key: true, createdAt: true }).extend({
  role: RoleName.optional(),
});

const MemberView = z.object({ userId: z.string(), role: RoleName, createdAt: z.iso.datetime() }).meta({ id: "Member" });

const CreateTenant = z.strictObject({ sourceId: z.uuid(), key: plainText(500), name: plainText(200) });
const TenantQuery = z.strictObject({ sourceId: z.uuid().optional(), ...PageQuery });
const SetMember = z.strictObject({ userId: UserId, role: RoleName });

export function tenantRoutes({ db }: ApiContext): FastifyPluginAsyncZod {
  return async (app) => {
    app.post(
      "/v1/tenants",
      {
        config: { access: "tenant:manage" },
        schema: {
          tags: ["tenants"],
          summary: "Register a customer of a source",
          body: CreateTenant,
          response: { 201: TenantView, ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const tenant = await withSystem(db, async (client) => {
          if ((await getSource(client, request.body.sourceId)) === null) throw notFound("source");
          const inserted = await insertTenant(client, request.body);
          if (inserted === null) {
            throw new RecoveryError("conflict", "The source has a tenant of this key already.", {
              sourceId: request.body.sourceId,
            });
          }
          const { id: tenantId, sourceId, key, name } = inserted;
          await audit(client, request, { action: "tenant.create", tenantId, sourceId, after: { key, name } });
          return inserted;
        });
        return reply.code(201).header("location", `/v1/tenants/${tenant.id}`).send(toTenantView(tenant));
      },
    );

    app.get(
      "/v1/tenants",
      {
        config: { access: "any-user" },
        schema: {
          tags: ["tenants"],
          summary: "A member's tenants by name, with the role in each; for an operator all of them, newest first",
          querystring: TenantQuery,
          response: { 200: pageSchema(ListedTenant), ...PROBLEMS },
        },
      },
      async (request) => {
        const { isOperator } = callerOf(request);
        if (!isOperator) {
          const memberships = await visibleMemberships(db, request);
          return {
            items: memberships.map(({ tenantId, tenantName, role }) => ({ id: tenantId, name: tenantName, role })),
            next: null,
          };
        }
        const { sourceId, limit, cursor } = request.query;
        const page = await listTenants(db.system, { sourceId }, { limit, cursor });
        return { items: page.items.map(toTenantView), next: page.next };
      },
    );

    app.get(
      "/v1/tenants/:id",
      {
        config: { access: "any-user" },
        schema: {
          tags: ["tenants"],
          summary: "A tenant, for its members and for operators",
          params: IdParams,
          response: { 200: TenantView, ...PROBLEMS },
        },
      },
      async (request) => {
        const { id } = request.params;
        const { isOperator } = callerOf(request);
        const isMember = async (): Promise<boolean> =>
          (await visibleMemberships(db, request)).some(({ tenantId }) => tenantId === id.toLowerCase());
        const tenant = isOperator || (await isMember()) ? await getTenant(db.system, id) : null;
        if (tenant === null) throw notFound("tenant");
        return toTenantView(tenant);
      },
    );

    app.get(
      "/v1/tenants/:id/members",
      {
        config: { access: "tenant:manage" },
        schema: {
          tags: ["tenants"],
          summary: "Who may act for a tenant",
          params: IdParams,
          response: { 200: z.object({ items: z.array(MemberView) }), ...PROBLEMS },
        },
      },
      async (request) => {
        const { id } = request.params;
        if ((await getTenant(db.system, id)) === null) throw notFound("tenant");
        const members = await listMembers(db.system, id);
        return { items: members.map((member) => ({ ...member, createdAt: member.createdAt.toISOString() })) };
      },
    );

    app.post(
      "/v1/tenants/:id/members",
      {
        config: { access: "tenant:manage" },
        schema: {
          tags: ["tenants"],
          summary: "Make a user a member, or give a member another role",
          params: IdParams,
          body: SetMember,
          response: { 204: z.undefined(), ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const tenantId = request.params.id;
        await withSystem(db, async (client) => {
          if ((await getTenant(client, tenantId)) === null) throw notFound("tenant");
          await setMember(client, { tenantId, ...request.body });
          await audit(client, request, { action: "member.set", tenantId, after: request.body });
        });
        return reply.code(204).send();
      },
    );

    app.delete(
      "/v1/tenants/:id/members/:userId",
      {
        config: { access: "tenant:manage" },
        schema: {
          tags: ["tenants"],
          summary: "End a membership",
          params: IdParams.extend({ userId: UserId }),
          response: { 204: z.undefined(), ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const { id: tenantId, userId } = request.params;
        await withSystem(db, async (client) => {
          if (!(await removeMember(client, userId, tenantId, callerOf(request).userId))) throw notFound("member");
          await audit(client, request, { action: "member.remove", tenantId, before: { userId } });
        });
        return reply.code(204).send();
      },
    );
  };
}

/** A person's tenants; of an API key only its own, whatever else its maker is a member of. */
async function visibleMemberships(db: ApiContext["db"], request: FastifyRequest): Promise<Membership[]> {
  const { userId, apiKey, tenant } = callerOf(request);
  const memberships = await listMemberships(db.system, userId);
  return apiKey === null ? memberships : memberships.filter(({ tenantId }) => tenantId === tenant?.id);
}

function toTenantView({ id, name, sourceId, key, createdAt }: Tenant): z.infer<typeof TenantView> {
  return { id, name, sourceId, key, createdAt: createdAt.toISOString() };
}
