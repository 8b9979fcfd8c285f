import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { QUEUES, type QueueName, type RunPayload } from "./catalog.ts";
import { connectProducer, type QueueLocation } from "./connection.ts";

export type RunQueue = Queue<RunPayload>;
export type RunQueues = Readonly<Record<QueueName, RunQueue>>;

// Redis must stay small however many runs there were, and the board useful: the last successes of a day, and failures
// for a week. The rows of the control database are the history.
const KEEP_SUCCEEDED = { age: 24 * 3600, count: 1_000 };
const KEEP_FAILED = { age: 7 * 24 * 3600, count: 5_000 };

/** The queues on a connection that somebody else closes. */
export function queuesOn(connection: Redis, prefix: string): RunQueues {
  const open = (name: QueueName): RunQueue =>
    new Queue(name, {
      connection,
      prefix,
      defaultJobOptions: { removeOnComplete: KEEP_SUCCEEDED, removeOnFail: KEEP_FAILED },
    });
  return { backups: open("backups"), restores: open("restores"), discovery: open("discovery") };
}

/** How many jobs of a queue are in one state. */
export interface QueueDepth {
  readonly queue: QueueName;
  readonly state: (typeof STATES)[number];
  readonly jobs: number;
}

const STATES = ["waiting", "active", "delayed", "failed"] as const;

/** The queues for those who look at them: Bull Board and metrics. */
export interface OpenQueues {
  readonly queues: readonly RunQueue[];
  /** Rejects within two seconds when Redis does not answer. */
  depths(): Promise<QueueDepth[]>;
  /** Rejects within two seconds when Redis does not answer; used by /readyz. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Opens the queues to look at. `onError` hears of lost connections; they are made again in the background. */
export function openQueues(location: QueueLocation, onError: (error: Error) => void = () => {}): OpenQueues {
  const connection = connectProducer(location.redisUrl, onError);
  const byName = queuesOn(connection, location.prefix);
  for (const name of QUEUES) byName[name].on("error", onError);
  return {
    queues: QUEUES.map((name) => byName[name]),
    depths: async () => (await Promise.all(QUEUES.map((name) => depthsOf(name, byName[name])))).flat(),
    ping: async () => {
      await connection.ping();
    },
    close: async () => {
      await Promise.allSettled(QUEUES.map((name) => byName[name].close()));
      connection.disconnect();
    },
  };
}

async function depthsOf(name: QueueName, queue: RunQueue): Promise<QueueDepth[]> {
  const counts = await queue.getJobCounts(...STATES);
  return STATES.map((state) => ({ queue: name, state, jobs: counts[state] ?? 0 }));
}
