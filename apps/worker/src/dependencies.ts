import {
  type BreakerSettings,
  type BreakerStatus,
  Breakers,
  type Dependency,
  type Failure,
  type Log,
  type QueueName,
} from "@rowback/jobs";

/** How long a breaker's question to a dependency may take. */
export const PROBE_MS = 10_000;

// Those that waited for the same thing don't all come back in the same moment.
const RETURN_WITHIN_MS = 5_000;

export function createBreakers(settings: BreakerSettings, log: Log): Breakers {
  return new Breakers({ settings, onChange: (status) => tell(log, status) });
}

function tell(log: Log, { dependency, state, failures, retryInMs }: BreakerStatus): void {
  if (state === "closed") log.info({ dependency }, "it is well again; its runs go on");
  else if (state === "open") log.warn({ dependency, failures, retryInMs }, "it failed again and again; its runs wait");
}

/** Whose runs of a queue must wait: these sources', or all, where the object store is unwell. */
export function unwellFor(queue: QueueName, breakers: Breakers): readonly string[] | "all" {
  const shut = breakers.shut();
  // A discovery writes no object.
  if (queue !== "discovery" && shut.includes("store")) return "all";
  return shut.flatMap((dependency) => (dependency.startsWith("source:") ? [dependency.slice("source:".length)] : []));
}

/**
 * Milliseconds that a run which failed so waits without losing its attempt, because what failed it is known to be unwell
 * by now; null where the attempt counts.
 */
export function postponeMs(failure: Failure, breakers: Breakers): number | null {
  const dependency = blamed(failure);
  const breaker = dependency === null ? null : breakers.known(dependency);
  return breaker?.isShut ? breaker.retryInMs + Math.ceil(Math.random() * RETURN_WITHIN_MS) : null;
}

function blamed({ code, sourceId }: Failure): Dependency | null {
  if (code === "store_unreachable" || code === "store_error") return "store";
  return code === "source_unreachable" && sourceId !== undefined ? `source:${sourceId}` : null;
}
