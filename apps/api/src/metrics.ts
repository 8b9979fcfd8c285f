import type { QueueDepth } from "@rowback/jobs";
import type { FastifyInstance } from "fastify";
import fp from "fastify-plugin";
import { collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export interface MetricsOptions {
  readonly queueDepths: () => Promise<readonly QueueDepth[]>;
  /** Clients that follow a run. */
  readonly runWatchers: () => number;
}

// A scrape must not hang with Redis: Prometheus gives up after 10 s and would lose all other figures too.
const QUEUE_DEPTH_TIMEOUT_MS = 1_000;

/** GET /metrics in Prometheus' text form. Routes are labelled by pattern, so that ids don't multiply the series. */
export const metrics = fp<MetricsOptions>(async (app: FastifyInstance, options) => {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const durations = new Histogram({
    name: "rowback_http_request_duration_seconds",
    help: "Time from a request's arrival to the end of its answer.",
    labelNames: ["method", "route", "status"],
    buckets: [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60],
    registers: [registry],
  });
  const queueJobs = new Gauge({
    name: "rowback_queue_jobs",
    help: "Jobs per queue and state.",
    labelNames: ["queue", "state"],
    registers: [registry],
  });
  const queueDepthsKnown = new Gauge({
    name: "rowback_queue_depths_known",
    help: "1 when Redis told the queues' depths in time, 0 when it did not.",
    registers: [registry],
  });
  const lookAtQueues = async (): Promise<void> => {
    const depths = await within(options.queueDepths(), QUEUE_DEPTH_TIMEOUT_MS);
    queueDepthsKnown.set(depths === null ? 0 : 1);
    queueJobs.reset();
    for (const { queue, state, jobs } of depths ?? []) queueJobs.set({ queue, state }, jobs);
  };
  new Gauge({
    name: "rowback_run_watchers",
    help: "Clients that follow a run's events or wait for its end.",
    registers: [registry],
    collect() {
      this.set(options.runWatchers());
    },
  });

  app.addHook("onResponse", async (request, reply) => {
    if (request.routeOptions.config.isStream === true) return;
    const route = request.is404 ? "unknown" : (request.routeOptions.url ?? "unknown");
    durations.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1000);
  });
  app.get("/metrics", { config: { access: "public" }, schema: { hide: true } }, async (_request, reply) => {
    await lookAtQueues();
    return reply.type(registry.contentType).send(await registry.metrics());
  });
});

/** What the promise gives, or null when it fails or takes longer. */
async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T | null> {
  const { promise: late, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(resolve, timeoutMs, null);
  return Promise.race([promise.catch(() => null), late]).finally(() => clearTimeout(timer));
}
