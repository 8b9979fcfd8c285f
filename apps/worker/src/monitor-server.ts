import Fastify from "fastify";
import type { Registry } from "prom-client";
import type { Readiness } from "./readiness.ts";

export interface MonitorServer {
  /** The port it listens on. */
  readonly port: number;
  close(): Promise<void>;
}

/** `/healthz` (this process is alive), `/readyz` (it can work) and `/metrics`, for the machinery around the worker; nothing else. */
export async function startMonitorServer(options: {
  readonly host: string;
  readonly port: number;
  readonly registry: Registry;
  readonly readiness: () => Promise<Readiness>;
}): Promise<MonitorServer> {
  const app = Fastify({ logger: false, forceCloseConnections: true });
  app.get("/healthz", async () => ({ status: "ok" }));
  app.get("/readyz", async (_request, reply) => {
    const readiness = await options.readiness();
    return reply.code(readiness.ready ? 200 : 503).send(readiness);
  });
  app.get("/metrics", async (_request, reply) =>
    reply.type(options.registry.contentType).send(await options.registry.metrics()),
  );
  await app.listen({ host: options.host, port: options.port });
  const address = app.server.address();
  const port = typeof address === "object" && address !== null ? address.port : options.port;
  return { port, close: () => app.close() };
}
