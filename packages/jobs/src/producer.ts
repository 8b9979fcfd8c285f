import type { JobsOptions } from "bullmq";
import type { Redis } from "ioredis";
import { cancellationChannel } from "./cancellations.ts";
import { JOBS, type JobName, QUEUES, type QueueName, RunPayload } from "./catalog.ts";
import { connectProducer, type QueueLocation } from "./connection.ts";
import { queuesOn, type RunQueue, type RunQueues } from "./queues.ts";

export interface EnqueueOptions {
  /** Milliseconds from now until the job may start. */
  readonly delayMs?: number;
}

/** A run whose job should exist. */
export interface EnqueueRequest {
  readonly name: JobName;
  readonly runId: string;
  readonly delayMs?: number;
}

/** Asks for runs whose rows are written already. */
export interface Producer {
  /**
   * Adds the job of a run; a job of that id that exists already, finished or not, stays as it is.
   * @returns the job's id, which is the run's
   * @throws QueueUnavailableError within about two seconds when Redis does not answer: the sweeper will enqueue the row
   */
  enqueue(name: JobName, payload: RunPayload, options?: EnqueueOptions): Promise<string>;
  /**
   * For the sweeper: after it every one of the runs has a job that is waiting, delayed or active. Finished jobs of these
   * ids are replaced, live ones left alone. A handful of round trips for a thousand runs.
   * @returns how many jobs had to be added
   * @throws QueueUnavailableError
   */
  ensureEnqueued(requests: readonly EnqueueRequest[]): Promise<number>;
  /**
   * Tells every worker that this run's cancellation was asked for, so that its worker need not find out for itself within
   * a second.
   * @throws QueueUnavailableError when Redis does not answer; the cancellation stands in the run's row all the same
   */
  tellOfCancellation(runId: string): Promise<void>;
  /** Rejects with QueueUnavailableError when Redis does not answer. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Redis does not answer. The run's row is not lost. */
export class QueueUnavailableError extends Error {
  override readonly name = "QueueUnavailableError";
}

export interface ProducerOptions extends QueueLocation {
  /** Hears of lost connections; they are made again in the background. */
  readonly onError?: (error: Error) => void;
}

// First use right after the start meets a connection that is still being made.
const READY_WITHIN_MS = 2_000;

// The row counts attempts and the consumer ends a job with UnrecoverableError when none are left, so BullMQ's own count
// must never be the one that gives up (a wiped Redis starts again from none).
const NEVER_THE_LIMIT = 1_000;

/** Opens the way in. Connects in the background. */
export function createProducer(options: ProducerOptions): Producer {
  const onError = options.onError ?? (() => {});
  const connection = connectProducer(options.redisUrl, onError);
  const queues = queuesOn(connection, options.prefix);
  for (const name of QUEUES) queues[name].on("error", onError);

  return {
    enqueue: (name, payload, enqueueOptions) =>
      whileRedisAnswers(connection, async () => {
        const { runId } = payload;
        await queues[JOBS[name].queue].add(name, { runId }, jobOptions(runId, enqueueOptions?.delayMs));
        return runId;
      }),
    ensureEnqueued: (requests) => whileRedisAnswers(connection, () => ensureEnqueued(queues, connection, requests)),
    tellOfCancellation: (runId) =>
      whileRedisAnswers(connection, async () => {
        await connection.publish(cancellationChannel(options.prefix), runId);
      }),
    ping: () =>
      whileRedisAnswers(connection, async () => {
        await connection.ping();
      }),
    close: async () => {
      await Promise.allSettled(QUEUES.map((name) => queues[name].close()));
      connection.disconnect();
    },
  };
}

function jobOptions(runId: string, delayMs: number | undefined): JobsOptions {
  return {
    jobId: runId,
    attempts: NEVER_THE_LIMIT,
    backoff: { type: "as_the_row_says" },
    ...(delayMs !== undefined && delayMs > 0 ? { delay: Math.ceil(delayMs) } : {}),
  };
}

async function ensureEnqueued(
  queues: RunQueues,
  connection: Redis,
  requests: readonly EnqueueRequest[],
): Promise<number> {
  const byQueue = Map.groupBy(requests, (request) => JOBS[request.name].queue);
  const added = await Promise.all(
    [...byQueue].map(([name, ofQueue]: [QueueName, EnqueueRequest[]]) => addMissing(queues[name], connection, ofQueue)),
  );
  return added.reduce((sum, count) => sum + count, 0);
}

async function addMissing(queue: RunQueue, connection: Redis, requests: readonly EnqueueRequest[]): Promise<number> {
  const states = await jobStates(queue, connection, requests);
  const missing = requests.filter((_, index) => states[index] !== "live");
  const finished = requests.filter((_, index) => states[index] === "finished");
  await Promise.all(finished.map((request) => queue.remove(request.runId)));
  await queue.addBulk(
    missing.map(({ name, runId, delayMs }) => ({
      name,
      data: RunPayload.parse({ runId }),
      opts: jobOptions(runId, delayMs),
    })),
  );
  return missing.length;
}

/** One pipeline: a job's hash is gone, or has `finishedOn`, or is alive. */
async function jobStates(
  queue: RunQueue,
  connection: Redis,
  requests: readonly EnqueueRequest[],
): Promise<("missing" | "finished" | "live")[]> {
  const pipeline = connection.pipeline();
  for (const { runId } of requests) pipeline.hmget(queue.toKey(runId), "timestamp", "finishedOn");
  const replies = (await pipeline.exec()) ?? [];
  return replies.map(([error, reply]) => {
    if (error !== null) throw error;
    if (!Array.isArray(reply) || reply[0] === null) return "missing";
    return reply[1] === null ? "live" : "finished";
  });
}

async function whileRedisAnswers<T>(connection: Redis, fn: () => Promise<T>): Promise<T> {
  await untilReady(connection);
  try {
    return await fn();
  } catch (cause) {
    throw new QueueUnavailableError("Redis does not answer; the run's row waits for the sweeper", { cause });
  }
}

/** Resolves when the connection is made, or rejects after two seconds. */
function untilReady(connection: Redis): Promise<void> {
  if (connection.status === "ready") return Promise.resolve();
  return new Promise((resolve, reject) => {
    const onReady = (): void => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(() => {
      connection.off("ready", onReady);
      reject(new QueueUnavailableError("Redis can't be reached; the run's row waits for the sweeper"));
    }, READY_WITHIN_MS);
    connection.once("ready", onReady);
  });
}
