import { listBreakerReports } from "@rowback/db";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { ApiContext } from "../context.ts";
import { Readiness, readReadiness } from "../readiness.ts";

/** Load balancers ask every few seconds and give up early. */
const PROBE_TIMEOUT_MS = 2_000;

export function serviceRoutes({ db, queues, store }: ApiContext): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      "/healthz",
      {
        config: { access: "public" },
        schema: {
          tags: ["service"],
          summary: "Whether this process is alive",
          security: [],
          response: { 200: z.object({ alive: z.literal(true) }) },
        },
      },
      async () => ({ alive: true }) as const,
    );

    app.get(
      "/readyz",
      {
        config: { access: "public" },
        schema: {
          tags: ["service"],
          summary: "Whether the database, Redis and the object store can be reached, and what workers found unwell",
          security: [],
          response: { 200: Readiness, 503: Readiness },
        },
      },
      async (_request, reply) => {
        const readiness = await readReadiness(
          {
            database: () => db.system.query({ text: "SELECT 1" }),
            redis: () => queues.ping(),
            store: (signal) => store.probe({ signal }),
          },
          () => listBreakerReports(db.system),
          PROBE_TIMEOUT_MS,
        );
        return reply.code(readiness.ready ? 200 : 503).send(readiness);
      },
    );
  };
}
