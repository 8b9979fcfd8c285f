import type { FastifyInstance } from "fastify";
import fp from "fastify-plugin";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export interface MetricsOptions {
  /** Jobs per queue and state, as the queue has them now. */
  readonly queueDepths: () => Promise<readonly QueueDepth[]>;
  /** Clients that follow a run. */
  readonly runWatchers: () => number;
}

export interface QueueDepth {
  readonly queue: string;
  readonly state: string;
  readonly jobs: number;
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
  const scrapeFailures = new Counter({
    name: "rowback_queue_depth_failures_total",
    help: "Scrapes in which Redis did not tell the queues' depths in time.",
    registers: [registry],
  });
  new Gauge({
    name: "rowback_queue_jobs",
    help: "Jobs per queue and state.",
    labelNames: ["queue", "state"],
    registers: [registry],
    async collect() {
      this.reset();
      const depths = await within(options.queueDepths(), QUEUE_DEPTH_TIMEOUT_MS);
      if (depths === null) scrapeFailures.inc();
      for (const { queue, state, jobs } of depths ?? []) this.set({ queue, state }, jobs);
    },
  });
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
    return reply.type(registry.contentType).send(await registry.metrics());
  });
});

/** What the promise gives, or null when it fails or takes longer. */
async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T | null> {
  const { promise: late, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(resolve, timeoutMs, null);
  return Promise.race([promise.catch(() => null), late]).finally(() => clearTimeout(timer));
}
