import {
  deleteSource,
  getCaptureState,
  getSource,
  insertSource,
  lastDiscovery,
  listProtectedTables,
  listSources,
  type SourceConnection,
  sealSecret,
  updateSource,
  withSystem,
} from "@rowback/db";
import { DiscoveryResult } from "@rowback/jobs";
import { RecoveryError } from "@rowback/recovery/errors";
import { captureInClear, ScopeRule, Tenancy } from "@rowback/recovery/plans";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { audit } from "../audit.ts";
import type { ApiContext } from "../context.ts";
import { plainText } from "../plain-text.ts";
import { notFound } from "../problem.ts";
import { IdParams, PROBLEMS } from "../responses.ts";
import { RUN_RESPONSES, RUN_TIMEOUT_MS, RunHeaders } from "../run-start.ts";
import { answerSourceRun } from "../source-run.ts";
import { DiscoveryView, SourceView, toDiscoveryView, toSourceView } from "../source-view.ts";

const Connection = plainText(4_000).refine(isConnection, "must be env:NAME, or a postgres:// URL with a host").meta({
  description: "env:NAME (a setting of the workers), or a postgres:// URL, which is stored encrypted and never shown.",
});

const Encryption = z.boolean().meta({
  description: "Seal what is stored from now on with a key per tenant; every worker then needs the master key.",
});

const CreateSource = z.strictObject({
  name: plainText(100),
  connection: Connection,
  tenancy: Tenancy,
  rules: z.array(ScopeRule).max(10_000).default([]),
  encryption: Encryption.optional(),
});

const ChangeSource = z
  .strictObject({
    connection: Connection.optional(),
    tenancy: Tenancy.optional(),
    rules: z.array(ScopeRule).max(10_000).optional(),
    encryption: Encryption.optional(),
  })
  .refine((change) => Object.values(change).some((value) => value !== undefined), "must change something");

export function sourceRoutes(api: ApiContext): FastifyPluginAsyncZod {
  const { db, settings } = api;
  const access = "source:manage";
  return async (app) => {
    app.post(
      "/v1/sources",
      {
        config: { access },
        schema: {
          tags: ["sources"],
          summary: "Register a database that holds tenants' rows",
          body: CreateSource,
          response: { 201: SourceView, ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const { name, tenancy, rules, encryption = settings.encryptSources } = request.body;
        const connection = stored(request.body.connection, settings.secretKey);
        const source = await withSystem(db, async (client) => {
          const inserted = await insertSource(client, { name, connection, tenancy, rules, encryption });
          if (inserted === null)
            throw new RecoveryError("conflict", "A source of this name exists already.", {
              hint: "Choose another name.",
            });
          await audit(client, request, {
            action: "source.create",
            sourceId: inserted.id,
            after: { name, tenancy, rules, encryption },
          });
          return inserted;
        });
        return reply.code(201).header("location", `/v1/sources/${source.id}`).send(toSourceView(source));
      },
    );

    app.get(
      "/v1/sources",
      {
        config: { access },
        schema: {
          tags: ["sources"],
          summary: "All sources, by name",
          response: { 200: z.object({ items: z.array(SourceView) }), ...PROBLEMS },
        },
      },
      async () => ({ items: (await listSources(db.system)).map(toSourceView) }),
    );

    app.get(
      "/v1/sources/:id",
      {
        config: { access },
        schema: {
          tags: ["sources"],
          summary: "A source",
          params: IdParams,
          response: { 200: SourceView, ...PROBLEMS },
        },
      },
      async (request) => {
        const source = await getSource(db.system, request.params.id);
        if (source === null) throw notFound("source");
        return toSourceView(source);
      },
    );

    app.patch(
      "/v1/sources/:id",
      {
        config: { access },
        schema: {
          tags: ["sources"],
          summary: "Change a source's connection, tenancy, rules or encryption; discover it again afterwards",
          params: IdParams,
          body: ChangeSource,
          response: { 200: SourceView, ...PROBLEMS },
        },
      },
      async (request) => {
        const { connection, tenancy, rules, encryption } = request.body;
        const { id } = request.params;
        return withSystem(db, async (client) => {
          const before = await getSource(client, id);
          const changed = await updateSource(client, id, {
            tenancy,
            rules,
            encryption,
            connection: connection === undefined ? undefined : stored(connection, settings.secretKey),
          });
          if (before === null || changed === null) throw notFound("source");
          if (encryption === true && (await getCaptureState(client, id))?.status === "on") throw captureInClear(id);
          await audit(client, request, {
            action: "source.change",
            sourceId: id,
            before: { tenancy: before.tenancy, rules: before.rules, encryption: before.encryption },
            after: {
              tenancy: changed.tenancy,
              rules: changed.rules,
              encryption: changed.encryption,
              connectionChanged: connection !== undefined,
            },
          });
          return toSourceView(changed);
        });
      },
    );

    app.delete(
      "/v1/sources/:id",
      {
        config: { access },
        schema: {
          tags: ["sources"],
          summary: "Forget a source that no tenant and no restore uses",
          params: IdParams,
          response: { 204: z.undefined(), ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const { id } = request.params;
        await withSystem(db, async (client) => {
          const before = await getSource(client, id);
          const outcome = await deleteSource(client, id);
          if (outcome === "unknown" || before === null) throw notFound("source");
          if (outcome === "in_use") {
            throw new RecoveryError("conflict", "Tenants or restores use this source.", {
              hint: "A source with a history stays.",
              sourceId: id,
            });
          }
          const { name, tenancy, rules } = before;
          await audit(client, request, { action: "source.delete", sourceId: id, before: { name, tenancy, rules } });
        });
        return reply.code(204).send();
      },
    );

    app.post(
      "/v1/sources/:id/discovery",
      {
        config: { access },
        handlerTimeout: RUN_TIMEOUT_MS,
        schema: {
          tags: ["sources"],
          summary: "Find out how each table's rows are tied to a tenant, and what the source's role lacks",
          params: IdParams,
          headers: RunHeaders,
          response: { ...RUN_RESPONSES, ...PROBLEMS },
        },
      },
      (request, reply) => answerSourceRun(api, request, reply, { kind: "discovery", action: "source.discover" }),
    );

    app.get(
      "/v1/sources/:id/discovery",
      {
        config: { access },
        schema: {
          tags: ["sources"],
          summary: "What the last discovery found, table by table",
          params: IdParams,
          response: { 200: DiscoveryView, ...PROBLEMS },
        },
      },
      async (request) => {
        const sourceId = request.params.id;
        const source = await getSource(db.system, sourceId);
        if (source === null) throw notFound("source");
        const [run, tables] = await Promise.all([
          lastDiscovery(db.system, sourceId),
          listProtectedTables(db.system, sourceId),
        ]);
        if (run === null) {
          throw new RecoveryError("conflict", "This source was never discovered.", {
            hint: "Ask for POST /v1/sources/:id/discovery first.",
            sourceId,
          });
        }
        return toDiscoveryView(source, run, DiscoveryResult.parse(run.result), tables);
      },
    );
  };
}

const SETTING_REFERENCE = /^env:[A-Za-z_][A-Za-z0-9_]*$/;

function isConnection(text: string): boolean {
  if (SETTING_REFERENCE.test(text)) return true;
  const url = URL.parse(text);
  return url !== null && (url.protocol === "postgres:" || url.protocol === "postgresql:") && url.hostname !== "";
}

function stored(connection: string, secretKey: Buffer): SourceConnection {
  return SETTING_REFERENCE.test(connection)
    ? { kind: "reference", reference: connection }
    : { kind: "sealed", sealed: sealSecret(connection, secretKey) };
}
