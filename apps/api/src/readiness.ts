import { z } from "zod";

type Dependency = "database" | "redis" | "store";
export type Probes = Readonly<Record<Dependency, (signal: AbortSignal) => Promise<unknown>>>;

const DependencyState = z.object({ reachable: z.boolean(), milliseconds: z.number() });

export const Readiness = z.object({
  ready: z.boolean(),
  dependencies: z.object({ database: DependencyState, redis: DependencyState, store: DependencyState }),
});
export type Readiness = z.infer<typeof Readiness>;

/** Asks every dependency at the same time; one that does not answer within `timeoutMs` is not reachable. Never throws. */
export async function readReadiness(probes: Probes, timeoutMs: number): Promise<Readiness> {
  const [database, redis, store] = await Promise.all([
    probe(probes.database, timeoutMs),
    probe(probes.redis, timeoutMs),
    probe(probes.store, timeoutMs),
  ]);
  const ready = [database, redis, store].every(({ reachable }) => reachable);
  return { ready, dependencies: { database, redis, store } };
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
