import { type Random, randomOf } from "./random.ts";

/** The two ends of a connection that may be cut. */
export type ProcessName = "api-1" | "api-2" | "worker-1" | "worker-2" | "worker-3";
export type ServiceName = "control" | "source" | "redis" | "store";

export const APIS = ["api-1", "api-2"] as const satisfies readonly ProcessName[];
export const WORKERS = ["worker-1", "worker-2", "worker-3"] as const satisfies readonly ProcessName[];

/** What is done to the system. `forMs`: how long it lasts. `pick`, 0 … 999: which of the runs that are there by then. */
export type Fault =
  | { readonly kind: "kill"; readonly process: ProcessName }
  | { readonly kind: "terminate"; readonly process: ProcessName }
  /** SIGSTOP, then SIGCONT when its leases have long been taken over. */
  | { readonly kind: "freeze"; readonly process: ProcessName; readonly forMs: number }
  /** A running run's lease ends although its worker is well, as by a clock that jumped. */
  | { readonly kind: "expire_lease"; readonly pick: number }
  /** The queue hands out one run's job a second time. */
  | { readonly kind: "deliver_again"; readonly pick: number }
  | { readonly kind: "restart_redis" }
  | { readonly kind: "flush_redis" }
  /** `crash`: an immediate shutdown, so that it has to recover from its log. */
  | { readonly kind: "restart_postgres"; readonly server: "control" | "source"; readonly crash: boolean }
  | { readonly kind: "store_answers"; readonly status: 500 | 503; readonly forMs: number }
  /** Requests are done, but their answers are lost. */
  | { readonly kind: "store_loses_answers"; readonly forMs: number }
  | { readonly kind: "store_slow"; readonly delayMs: number; readonly forMs: number }
  /** Connections to the store break in the middle of bodies. */
  | { readonly kind: "store_cut"; readonly afterBytes: number }
  | { readonly kind: "store_full"; readonly forMs: number }
  | {
      readonly kind: "network";
      readonly how: "cut" | "silent" | "slow";
      readonly process: ProcessName;
      readonly service: ServiceName;
      readonly forMs: number;
    };

export interface PlannedFault {
  /** Milliseconds after the load began. */
  readonly atMs: number;
  readonly fault: Fault;
}

export interface PlanOptions {
  readonly seed: number;
  readonly faults: number;
  readonly store: "s3" | "file";
  /** The mean time between two faults, in milliseconds. */
  readonly everyMs: number;
  /** A frozen worker stays so for longer than this. */
  readonly leaseMs: number;
  /** These kinds and no others; all unless told. */
  readonly only?: readonly Fault["kind"][] | undefined;
}

type FaultOf<K extends Fault["kind"]> = Extract<Fault, { kind: K }>;
type Makers = { readonly [K in Fault["kind"]]: (random: Random, options: PlanOptions) => FaultOf<K> };

export const FAULT_KINDS = [
  "kill",
  "terminate",
  "freeze",
  "expire_lease",
  "deliver_again",
  "restart_redis",
  "flush_redis",
  "restart_postgres",
  "store_full",
  "network",
  "store_answers",
  "store_loses_answers",
  "store_slow",
  "store_cut",
] as const satisfies readonly Fault["kind"][];

/** What only a store behind HTTP can do. */
const OF_HTTP: ReadonlySet<Fault["kind"]> = new Set([
  "store_answers",
  "store_loses_answers",
  "store_slow",
  "store_cut",
]);
/** Kinds that are several in one: they come more often. */
const TIMES: Readonly<Partial<Record<Fault["kind"], number>>> = { kill: 3, restart_postgres: 2, network: 3 };

/**
 * When what is done to the system, decided before it starts: the same options give the same plan. Each kind comes once before any comes
 * again (the broad ones two or three times), so that a short plan is a mixed one.
 */
export function planFaults(options: PlanOptions): PlannedFault[] {
  const random = randomOf(options.seed);
  const kinds = FAULT_KINDS.filter(
    (kind) => (options.only?.includes(kind) ?? true) && (options.store === "s3" || !OF_HTTP.has(kind)),
  ).flatMap((kind) => Array.from({ length: TIMES[kind] ?? 1 }, () => kind));
  if (kinds.length === 0) throw new Error("there is no such fault with this store");
  const planned: PlannedFault[] = [];
  let deck: Fault["kind"][] = [];
  for (let at = 0; planned.length < options.faults; ) {
    if (deck.length === 0) deck = random.shuffled(kinds);
    at += random.whole(Math.round(options.everyMs * 0.2), Math.round(options.everyMs * 1.8));
    const kind = deck.pop();
    if (kind !== undefined) planned.push({ atMs: at, fault: MAKERS[kind](random, options) });
  }
  return planned;
}

const MAKERS: Makers = {
  kill: (random) => ({ kind: "kill", process: random.pick([...WORKERS, ...WORKERS, ...APIS]) }),
  terminate: (random) => ({ kind: "terminate", process: random.pick([...WORKERS, ...APIS]) }),
  freeze: (random, { leaseMs }) => ({
    kind: "freeze",
    process: random.pick(WORKERS),
    forMs: random.whole(Math.round(leaseMs * 1.2), Math.round(leaseMs * 2.5)),
  }),
  expire_lease: (random) => ({ kind: "expire_lease", pick: random.whole(0, 999) }),
  deliver_again: (random) => ({ kind: "deliver_again", pick: random.whole(0, 999) }),
  restart_redis: () => ({ kind: "restart_redis" }),
  flush_redis: () => ({ kind: "flush_redis" }),
  restart_postgres: (random) => ({
    kind: "restart_postgres",
    server: random.pick(["control", "source"] as const),
    crash: random.oneIn(2),
  }),
  store_full: (random) => ({ kind: "store_full", forMs: random.whole(500, 4_000) }),
  network: (random, { store }) => {
    const process = random.pick([...APIS, ...WORKERS]);
    const ofWorkers = ["control", "source", "redis", ...(store === "s3" ? (["store"] as const) : [])] as const;
    const service = process.startsWith("worker") ? random.pick(ofWorkers) : random.pick(["control", "redis"] as const);
    const how = random.pick(["cut", "silent", "slow"] as const);
    return { kind: "network", how, process, service, forMs: random.whole(500, 6_000) };
  },
  store_answers: (random) => ({
    kind: "store_answers",
    status: random.pick([500, 503] as const),
    forMs: random.whole(300, 6_000),
  }),
  store_loses_answers: (random) => ({ kind: "store_loses_answers", forMs: random.whole(300, 3_000) }),
  store_slow: (random) => ({
    kind: "store_slow",
    delayMs: random.whole(100, 2_000),
    forMs: random.whole(500, 5_000),
  }),
  store_cut: (random) => ({ kind: "store_cut", afterBytes: random.whole(1, 4_000_000) }),
};

/** In a few words, for the log. */
export function describeFault(fault: Fault): string {
  const { kind, ...details } = fault;
  return [kind, ...Object.entries(details).map(([name, value]) => `${name}=${value}`)].join(" ");
}
