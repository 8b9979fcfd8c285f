import { type Job, UnrecoverableError, WaitingError, Worker } from "bullmq";
import { listenForCancellations } from "./cancellations.ts";
import { QUEUES, type QueueName, type RunPayload } from "./catalog.ts";
import { connectConsumer, type QueueLocation } from "./connection.ts";
import { LEASE_MS } from "./ledger.ts";
import { throttledErrors } from "./log.ts";
import { type ExecutorOptions, type OutcomeByJob, RunExecutor, type Verdict } from "./run-executor.ts";

export interface ConsumerOptions<Run, Outcomes extends OutcomeByJob>
  extends QueueLocation,
    ExecutorOptions<Run, Outcomes> {
  /** How many runs of each queue this process works on at once; 0 leaves a queue to other workers. */
  readonly concurrency: Readonly<Record<QueueName, number>>;
}

/** A worker's end of the queues. */
export interface Consumer {
  readonly activeRuns: number;
  /** Resolves when all queues are being listened to. */
  ready(): Promise<void>;
  /**
   * Takes no more runs, gives the active ones `graceMs` to end, then stops them and hands them back without costing an
   * attempt. Always resolves, also without Redis. Called again, it ends the grace period at once.
   */
  close(times: { readonly graceMs: number }): Promise<void>;
}

// How long a verb may take to stop once it was told to: a COPY is cancelled by the server within moments.
const STOP_MS = 5_000;
// What is left then is telling Redis; its jobs come back by themselves when their locks end.
const CLOSE_MS = 3_000;
// After a lost connection BullMQ waits this long before it tells Redis again how a job ended.
const TELL_AGAIN_MS = 2_000;
// A job whose worker died comes back when its lock ended. How often that may happen is the row's to say, not BullMQ's.
const STALLED_LIMIT = 1_000;

type RunWorker = Worker<RunPayload, Verdict["end"]>;
type RunJob = Job<RunPayload, Verdict["end"]>;

/**
 * Starts to work. A job is a ticket: for each, the run whose turn it is (often the job's own, and not always) is claimed,
 * handled and recorded by a RunExecutor, and the verdict told to BullMQ. A run that was put back leaves the ticket in the
 * queue with its wait, so there are as many tickets as queued runs, whichever run each was written for.
 */
export function createConsumer<Run, Outcomes extends OutcomeByJob>(options: ConsumerOptions<Run, Outcomes>): Consumer {
  const onError = throttledErrors(options.log, "Redis does not answer; the worker keeps trying");
  const connection = connectConsumer(options.redisUrl, onError);
  const executor = new RunExecutor(options);

  const processOf =
    (queue: QueueName) =>
    async (job: RunJob, lock?: string): Promise<Verdict["end"]> => {
      const verdict = await executor.execute(queue, (progress) => {
        job.updateProgress(progress).catch(onError);
      });
      return await tellQueue(job, lock, verdict);
    };

  const workers: RunWorker[] = QUEUES.filter((queue) => options.concurrency[queue] > 0).map(
    (queue) =>
      new Worker<RunPayload, Verdict["end"]>(queue, processOf(queue), {
        connection,
        prefix: options.prefix,
        concurrency: options.concurrency[queue],
        // Both notice a dead worker together; asked less often, a taken-back run's job would stay its dead worker's.
        lockDuration: options.leaseMs ?? LEASE_MS,
        stalledInterval: options.leaseMs ?? LEASE_MS,
        maxStalledCount: STALLED_LIMIT,
        runRetryDelay: TELL_AGAIN_MS,
        settings: { backoffStrategy: (_attemptsMade, _type, error) => (error instanceof TryAgain ? error.delayMs : 0) },
      }),
  );
  for (const worker of workers) worker.on("error", onError);
  const stopListening = listenForCancellations(options, (runId) => void executor.hearOfCancellation(runId), onError);

  let closing: Promise<void> | null = null;
  const close = async (graceMs: number): Promise<void> => {
    await Promise.all(workers.map((worker) => worker.pause(true)));
    const stuck = await executor.drain({ graceMs, stopMs: STOP_MS });
    if (stuck > 0) options.log.error({ stuck }, "runs did not stop; their leases will end");
    await within(CLOSE_MS, Promise.all(workers.map((worker) => worker.close(stuck > 0))));
    stopListening();
    connection.disconnect();
    await within(CLOSE_MS, Promise.all(workers.map((worker) => worker.close(true))));
  };

  return {
    get activeRuns() {
      return executor.activeRuns;
    },
    ready: async () => {
      await Promise.all(workers.map((worker) => worker.waitUntilReady()));
    },
    close: ({ graceMs }) => {
      if (closing === null) closing = close(graceMs);
      else executor.stopNow();
      return closing;
    },
  };
}

/** To BullMQ: the same job again in `delayMs`. */
class TryAgain extends Error {
  override readonly name = "TryAgain";
  readonly delayMs: number;

  constructor(message: string, delayMs: number) {
    super(message);
    this.delayMs = delayMs;
  }
}

async function tellQueue(job: RunJob, lock: string | undefined, verdict: Verdict): Promise<Verdict["end"]> {
  switch (verdict.end) {
    case "succeeded":
    case "refused":
    case "lost":
      return verdict.end;
    case "cancelled":
      throw new UnrecoverableError("cancelled");
    case "failed":
      throw new UnrecoverableError(`${verdict.failure.code}: ${verdict.failure.message}`);
    case "retry":
    case "postponed":
      throw new TryAgain(`${verdict.failure.code}: ${verdict.failure.message}`, verdict.delayMs);
    case "unavailable":
      throw new TryAgain("the control database does not answer", verdict.delayMs);
    case "released":
      await job.moveToWait(lock);
      throw new WaitingError();
  }
}

/** Waits for it, but no longer than `ms`, whatever comes of it. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const enough = new Promise((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work.catch(() => undefined), enough]);
  clearTimeout(timer);
}
