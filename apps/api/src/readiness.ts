import type { BreakerReport } from "@rowback/db";
import { z } from "zod";

type Dependency = "database" | "redis" | "store";
export type Probes = Readonly<Record<Dependency, (signal: AbortSignal) => Promise<unknown>>>;

const DependencyState = z.object({ reachable: z.boolean(), milliseconds: z.number() });

/** How the workers found what runs need: no ids of sources, for anybody may ask. */
const BreakerSummary = z
  .object({
    workers: z.int().meta({ description: "Workers that are alive." }),
    store: z.enum(["closed", "half_open", "open"]).meta({ description: "The worst that any of them says." }),
    sources: z.object({ known: z.int(), unwell: z.int() }),
  })
  .meta({ description: "null: the control database did not say." });
export type BreakerSummary = z.infer<typeof BreakerSummary>;

export const Readiness = z.object({
  ready: z.boolean().meta({
    description: "Whether this process can serve requests; what workers found unwell does not keep it from that.",
  }),
  breakers: BreakerSummary.nullable(),
  dependencies: z.object({ database: DependencyState, redis: DependencyState, store: DependencyState }),
});
export type Readiness = z.infer<typeof Readiness>;

/** Asks every dependency at the same time; one that does not answer within `timeoutMs` is not reachable. Never throws. */
export async function readReadiness(
  probes: Probes,
  reports: () => Promise<readonly BreakerReport[]>,
  timeoutMs: number,
): Promise<Readiness> {
  const [breakers, database, redis, store] = await Promise.all([
    within(timeoutMs, reports().then(summaryOf)),
    probe(probes.database, timeoutMs),
    probe(probes.redis, timeoutMs),
    probe(probes.store, timeoutMs),
  ]);
  const ready = [database, redis, store].every(({ reachable }) => reachable);
  return { ready, breakers, dependencies: { database, redis, store } };
}

/** What all workers say together: each finds out by itself, so one that says unwell is enough. */
export function summaryOf(reports: readonly BreakerReport[]): BreakerSummary {
  const said = reports.flatMap(({ breakers }) => breakers);
  const storeStates = new Set(said.flatMap(({ dependency, state }) => (dependency === "store" ? [state] : [])));
  const sources = said.filter(({ dependency }) => dependency.startsWith("source:"));
  const unwell = sources.filter(({ state }) => state !== "closed");
  return {
    workers: reports.length,
    store: (["open", "half_open"] as const).find((state) => storeStates.has(state)) ?? "closed",
    sources: { known: countOf(sources), unwell: countOf(unwell) },
  };
}

function countOf(breakers: readonly { readonly dependency: string }[]): number {
  return new Set(breakers.map(({ dependency }) => dependency)).size;
}

async function within<T>(ms: number, answer: Promise<T>): Promise<T | null> {
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(late.resolve, ms, null);
  return await Promise.race([answer.catch(() => null), late.promise]).finally(() => clearTimeout(timer));
}

async function probe(ask: Probes[Dependency], timeoutMs: number): Promise<z.infer<typeof DependencyState>> {
  const started = performance.now();
  const signal = AbortSignal.timeout(timeoutMs);
  const reachable = await Promise.race([
    ask(signal).then(
      () => true,
      () => false,
    ),
    new Promise<boolean>((resolve) => signal.addEventListener("abort", () => resolve(false))),
  ]);
  return { reachable, milliseconds: Math.round(performance.now() - started) };
}
