import {
  beginPurge,
  type ControlDatabase,
  type EnqueueableRun,
  expireRestores,
  getBackup,
  getRun,
  listEnqueueable,
  listPurgeable,
  markPurged,
  type Queryable,
  takeBackExpiredRuns,
} from "@rowback/db";
import { describeError, type Producer } from "@rowback/jobs";
import { type Clock, collectGarbage, deleteBackup, type Log } from "@rowback/recovery";
import type { ObjectStore } from "@rowback/storage";
import type { SweepSettings } from "./config.ts";
import { withSweepLock } from "./sweep-lock.ts";

export interface SweeperOptions {
  readonly db: ControlDatabase;
  readonly control: Queryable;
  readonly producer: Producer;
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly log: Log;
  /** For the audit log. */
  readonly workerName: string;
  readonly settings: SweepSettings;
}

export interface Sweeper {
  /** Stops after the sweep that is under way, if any; a collection of garbage is broken off. */
  close(): Promise<void>;
}

// Some ten milliseconds of work for each side: long enough to be few, short enough for nobody to wait behind.
const BATCH = 1_000;
// A sweep of a hundred thousand rows takes seconds; whatever it takes, four times as long is left to the runs themselves.
const REST_FACTOR = 4;
// Two workers in a row are killed by a roll-out or a bad machine. Three that died with the same run in their hands were
// most likely killed by it, and the next would take the runs beside it along again.
const MOST_CRASHES = 3;

/** What the queue may lose and a crash may leave behind is put right here, by whichever worker gets to it first. */
export function startSweeper(options: SweeperOptions): Sweeper {
  const stop = new AbortController();
  const { everyMs, garbageEveryMs } = options.settings;
  const loops = [
    repeat("runs", everyMs, stop.signal, options.log, () => sweepRuns(options, stop.signal)),
    // Begun at a moment of chance: workers that are restarted together must not list the whole store one after the other.
    rest(Math.random() * garbageEveryMs, stop.signal).then(() =>
      repeat("garbage", garbageEveryMs, stop.signal, options.log, () => sweepGarbage(options, stop.signal)),
    ),
  ];
  return {
    close: async () => {
      stop.abort();
      await Promise.all(loops);
    },
  };
}

/** Ends what nobody agreed to in time, takes back the runs of dead workers, then sees to it that every queued run has a job. */
export async function sweepRuns(options: SweeperOptions, signal: AbortSignal): Promise<void> {
  await withSweepLock(options.db, "sweep-runs", async (client) => {
    await expireApprovals(options, signal);
    await takeBackRuns(options, signal);
    await enqueueLostRuns(options, client, signal);
  });
}

async function expireApprovals({ control, log }: SweeperOptions, signal: AbortSignal): Promise<void> {
  for (let more = true; more && !signal.aborted; ) {
    const expired = await expireRestores(control, BATCH);
    for (const { runId, tenantId } of expired) log.info({ runId, tenantId }, "nobody agreed to the restore in time");
    more = expired.length === BATCH;
  }
}

async function takeBackRuns({ control, producer, log }: SweeperOptions, signal: AbortSignal): Promise<void> {
  for (let more = true; more && !signal.aborted; ) {
    const taken = await takeBackExpiredRuns(control, {
      limit: BATCH,
      error: {
        code: "lease_lost",
        message: "The run's worker stopped answering.",
        hint: "Look at the worker's log around this time; it was killed, or its machine was lost.",
        retryable: true,
      },
      crashes: {
        most: MOST_CRASHES,
        error: {
          code: "crash_loop",
          message: `The run's worker died, or stopped answering, ${MOST_CRASHES} times.`,
          hint: "Look at the workers' logs and memory around these times before asking for it again.",
          retryable: false,
        },
      },
    });
    for (const { id, kind, status, worker } of taken) {
      log.warn({ runId: id, kind, status, worker }, "took a run back from a worker that stopped answering");
    }
    const queued = taken.filter((run) => run.status === "queued");
    await producer.ensureEnqueued(queued.map(({ id, kind }) => ({ name: kind, runId: id })));
    more = taken.length === BATCH;
  }
}

async function enqueueLostRuns(
  { producer, log, settings }: SweeperOptions,
  client: Queryable,
  signal: AbortSignal,
): Promise<void> {
  let after: EnqueueableRun | undefined;
  let added = 0;
  while (!signal.aborted) {
    const runs = await listEnqueueable(client, {
      forMs: settings.queuedForMs,
      limit: BATCH,
      ...(after === undefined ? {} : { after }),
    });
    added += await producer.ensureEnqueued(runs.map(({ id, kind }) => ({ name: kind, runId: id })));
    after = runs.at(-1);
    if (runs.length < BATCH) break;
  }
  if (added > 0) log.info({ runs: added }, "enqueued runs that had no job: it was lost, or was another run's ticket");
}

/** Removes backups whose grace is over, then what crashed backups left in the store. */
export async function sweepGarbage(options: SweeperOptions, signal: AbortSignal): Promise<void> {
  await withSweepLock(options.db, "sweep-garbage", async () => {
    await purgeBackups(options, signal);
    await collectGarbage(
      { store: options.store, clock: options.clock, log: options.log, signal },
      {
        graceMs: options.settings.garbageGraceMs,
        isLive: async ({ backupId }) =>
          ["queued", "running"].includes((await getRun(options.control, backupId))?.status ?? ""),
        hasFailed: async ({ backupId }) =>
          ["failed", "cancelled"].includes((await getRun(options.control, backupId))?.status ?? ""),
        manifestOf: async ({ backupId }) => {
          const backup = await getBackup(options.control, backupId);
          return backup?.status === "succeeded" ? backup.manifestSha256 : null;
        },
      },
    );
    // Last: a store that forbids listing uploads keeps them, and nothing else.
    await collectUnfinished(options, signal);
  });
}

async function purgeBackups({ control, store, log, workerName }: SweeperOptions, signal: AbortSignal): Promise<void> {
  for (let more = true; more && !signal.aborted; ) {
    const backups = await listPurgeable(control, BATCH);
    let purged = 0;
    for (const { id, tenantId } of backups) {
      if (signal.aborted || !(await beginPurge(control, id))) continue;
      await deleteBackup(store, { tenantId, backupId: id }, { signal });
      if (await markPurged(control, id, workerName)) purged += 1;
    }
    if (purged > 0) log.info({ backups: purged }, "purged deleted backups whose grace was over");
    more = backups.length === BATCH && purged > 0;
  }
}

/** What processes that died had begun to store: no listing shows it, and it is paid for. */
async function collectUnfinished({ store, clock, log, settings }: SweeperOptions, signal: AbortSignal): Promise<void> {
  const before = new Date(clock.now().getTime() - settings.unfinishedGraceMs);
  const uploads = await store.collectUnfinished({ before, signal });
  if (uploads > 0) log.info({ uploads }, "collected what was begun to be stored and never ended");
}

/** Again and again with a rest between, until the signal; an error is logged and the next turn tries again. */
async function repeat(
  sweep: string,
  everyMs: number,
  signal: AbortSignal,
  log: Log,
  turn: () => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    const startedAt = performance.now();
    try {
      await turn();
    } catch (error) {
      if (!signal.aborted)
        log.error({ sweep, error: describeError(error) }, "a sweep failed; the next one tries again");
    }
    await rest(Math.max(everyMs, REST_FACTOR * (performance.now() - startedAt)), signal);
  }
}

function rest(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}
