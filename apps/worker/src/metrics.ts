import type { ClaimedRun } from "@rowback/db";
import type { BreakerState, Breakers, ExecutionEvent, OpenQueues } from "@rowback/jobs";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export interface WorkerMetrics {
  readonly registry: Registry;
  /** Counts what happens to runs in this process. */
  observe(event: ExecutionEvent<ClaimedRun>): void;
}

const BREAKER_STATES: Readonly<Record<BreakerState, number>> = { closed: 0, half_open: 1, open: 2 };
const SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400];

/** This worker's figures, for Prometheus. Seconds. */
export function createMetrics(sources: {
  readonly queues: OpenQueues;
  readonly breakers: Breakers;
  readonly activeRuns: () => number;
}): WorkerMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const ended = new Counter({
    name: "rowback_runs_total",
    help: "Attempts of runs in this worker, by how they ended",
    labelNames: ["kind", "outcome"],
    registers: [registry],
  });
  const duration = new Histogram({
    name: "rowback_run_duration_seconds",
    help: "From the claim of a run to its outcome",
    labelNames: ["kind", "outcome"],
    buckets: SECONDS,
    registers: [registry],
  });
  const lag = new Histogram({
    name: "rowback_queue_lag_seconds",
    help: "From the moment a run could start to its claim",
    labelNames: ["kind"],
    buckets: SECONDS,
    registers: [registry],
  });
  new Gauge({
    name: "rowback_runs_active",
    help: "Runs this worker is busy with",
    registers: [registry],
    collect() {
      this.set(sources.activeRuns());
    },
  });
  new Gauge({
    name: "rowback_queue_jobs",
    help: "Jobs in Redis; missing while Redis does not answer",
    labelNames: ["queue", "state"],
    registers: [registry],
    async collect() {
      this.reset();
      const depths = await sources.queues.depths().catch(() => []);
      for (const { queue, state, jobs } of depths) this.set({ queue, state }, jobs);
    },
  });
  new Gauge({
    name: "rowback_breaker_state",
    help: "Of what runs need: 0 it may be asked, 1 it is being asked whether it is well again, 2 its runs wait",
    labelNames: ["dependency"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { dependency, state } of sources.breakers.statuses()) this.set({ dependency }, BREAKER_STATES[state]);
    },
  });
  return {
    registry,
    observe: (event) => {
      if (event.event === "claimed") {
        const { availableAt } = event.claim.run;
        lag.observe({ kind: event.name }, Math.max(0, Date.now() - availableAt.getTime()) / 1_000);
        return;
      }
      ended.inc({ kind: event.name, outcome: event.end });
      duration.observe({ kind: event.name, outcome: event.end }, event.durationMs / 1_000);
    },
  };
}
