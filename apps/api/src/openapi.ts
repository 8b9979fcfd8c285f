import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import type { FastifyInstance } from "fastify";
import fp from "fastify-plugin";
import { jsonSchemaTransform, jsonSchemaTransformObject } from "fastify-type-provider-zod";

/** The formal description of the API (AUDIT B11): /openapi.json for programs, /docs for people. Register before the routes. */
export const openapi = fp(async (app: FastifyInstance) => {
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "Rowback",
        version: "1",
        description:
          "Back up, rewind and prove one tenant of a PostgreSQL SaaS database. Work is asked for as a run: such a POST answers " +
          "202 with the run, takes an Idempotency-Key, and with `Prefer: wait=<seconds>` waits for the run's end.",
        license: { name: "Apache-2.0", identifier: "Apache-2.0" },
      },
      tags: [
        { name: "backups", description: "One tenant's rows at one snapshot." },
        { name: "restores", description: "Preview the difference, apply it in one transaction, undo it." },
        {
          name: "moments",
          description: "What the change log reaches: the recovery window, restore points, a row's history.",
        },
        { name: "runs", description: "Everything that was asked for, and how far it is." },
        { name: "sources", description: "The databases that hold tenants' rows. For operators." },
        { name: "tenants", description: "Who is a customer, and who may act for one." },
        { name: "api-keys", description: "For programs: one tenant, some permissions, an end." },
        { name: "audit", description: "Who did and read what." },
        { name: "settings", description: "A tenant's own rules, and its quota and limits." },
        { name: "service", description: "Is it alive?" },
      ],
      components: {
        securitySchemes: {
          bearer: { type: "http", scheme: "bearer", description: "A JWT of your identity provider, or an API key." },
        },
      },
      security: [{ bearer: [] }],
    },
    transform: jsonSchemaTransform,
    transformObject: jsonSchemaTransformObject,
  });
  await app.register(async (docs) => {
    docs.addHook("onRoute", (route) => {
      route.config = { ...route.config, access: "public" };
    });
    await docs.register(swaggerUi, { routePrefix: "/docs" });
    docs.get("/openapi.json", { schema: { hide: true } }, async () => app.swagger());
  });
});
