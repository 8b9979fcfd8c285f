import {
  getTenant,
  getTenantSettings,
  type Queryable,
  type TenantSettings,
  updateTenantRules,
  updateTenantSettings,
  withSystem,
  withTenant,
} from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { audit } from "../audit.ts";
import { tenantCallerOf } from "../auth/caller.ts";
import type { ApiContext } from "../context.ts";
import { notFound } from "../problem.ts";
import { IdParams, PROBLEMS } from "../responses.ts";

/** The tenant's own rules, for its owners and admins. */
const RULES = {
  restoresNeedApproval: z.boolean().meta({ description: "A second person must agree to each restore, undos too." }),
  restoreApprovalHours: z.int().min(1).max(720).meta({ description: "How long a restore waits for that." }),
};

/** What the tenant may cost, for operators. */
const LIMITS = {
  storageQuotaBytes: z.int().min(0).nullable().meta({ description: "Null: no quota." }),
  backupsPerHour: z.int().min(0).max(1_000_000).meta({ description: "By one user." }),
  deletedBackupGraceHours: z
    .int()
    .min(0)
    .max(24 * 3_650)
    .meta({ description: "How long a deleted backup can be undeleted." }),
};

const SettingsView = z.object({ ...LIMITS, ...RULES }).meta({ id: "Settings" });

const ChangeSettings = z.strictObject({ ...LIMITS, ...RULES }).partial();

/** What a tenant's settings are, and each of them changed by whom it concerns. */
export function settingsRoutes({ db }: ApiContext): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      "/v1/settings",
      {
        config: { access: "settings:read" },
        schema: {
          tags: ["settings"],
          summary: "The tenant's settings",
          response: { 200: SettingsView, ...PROBLEMS },
        },
      },
      async (request) => {
        const { tenantId } = tenantCallerOf(request);
        return withTenant(db, tenantId, (client) => getTenantSettings(client, tenantId));
      },
    );

    app.patch(
      "/v1/settings",
      {
        config: { access: "settings:manage" },
        schema: {
          tags: ["settings"],
          summary: "Change the tenant's own rules; its quota and limits are an operator's to change",
          body: ChangeSettings,
          response: { 200: SettingsView, ...PROBLEMS },
        },
      },
      async (request) => {
        const { tenantId } = tenantCallerOf(request);
        refuseOthers(
          request.body,
          LIMITS,
          "Only an operator may change",
          "PATCH /v1/tenants/:id/settings is for that.",
        );
        return withTenant(db, tenantId, async (client) => {
          const before = await getTenantSettings(client, tenantId);
          const settings = await updateTenantRules(client, request.body);
          await noteChange(client, request, tenantId, before, settings);
          return settings;
        });
      },
    );

    app.get(
      "/v1/tenants/:id/settings",
      {
        config: { access: "operator", auditNoun: "settings" },
        schema: {
          tags: ["settings"],
          summary: "Any tenant's settings, for operators",
          params: IdParams,
          response: { 200: SettingsView, ...PROBLEMS },
        },
      },
      async (request) => {
        await knownTenant(db.system, request.params.id);
        return getTenantSettings(db.system, request.params.id);
      },
    );

    app.patch(
      "/v1/tenants/:id/settings",
      {
        config: { access: "operator" },
        schema: {
          tags: ["settings"],
          summary: "Change a tenant's quota and limits; its own rules are its owners' and admins' to change",
          params: IdParams,
          body: ChangeSettings,
          response: { 200: SettingsView, ...PROBLEMS },
        },
      },
      async (request) => {
        const tenantId = request.params.id;
        refuseOthers(request.body, RULES, "Only the tenant's owners and admins may change", "Leave it out.");
        return withSystem(db, async (client) => {
          await knownTenant(client, tenantId);
          const before = await getTenantSettings(client, tenantId);
          const settings = await updateTenantSettings(client, tenantId, request.body);
          await noteChange(client, request, tenantId, before, settings);
          return settings;
        });
      },
    );
  };
}

async function knownTenant(q: Queryable, tenantId: string): Promise<void> {
  if ((await getTenant(q, tenantId)) === null) throw notFound("tenant");
}

/** Throws `forbidden`, and nothing is changed, where one of the members is not the caller's to change. */
function refuseOthers(change: object, others: object, words: string, hint: string): void {
  const named = Object.keys(change).filter((name) => Object.hasOwn(others, name));
  if (named.length > 0) throw new RecoveryError("forbidden", `${words} ${named.join(", ")}.`, { hint });
}

/** Tells only what changed: an entry that repeats all the rest hides it. */
async function noteChange(
  client: Queryable,
  request: FastifyRequest,
  tenantId: string,
  before: TenantSettings,
  after: TenantSettings,
): Promise<void> {
  const changed = SettingsView.keyof().options.filter((name) => before[name] !== after[name]);
  if (changed.length === 0) return;
  const pick = (settings: TenantSettings): object => Object.fromEntries(changed.map((name) => [name, settings[name]]));
  await audit(client, request, { action: "settings.change", tenantId, before: pick(before), after: pick(after) });
}
