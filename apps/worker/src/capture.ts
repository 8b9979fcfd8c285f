import {
  type CaptureEpoch,
  type CaptureLease,
  type CaptureState,
  getCaptureState,
  listEpochs,
  listUncaptured,
  observeSlot,
  releaseCapture,
  renewCapture,
  setCaptureProblem,
  takeCapture,
} from "@rowback/db";
import { describeError, RunStopped } from "@rowback/jobs";
import { captureChanges, freeSlot, readSlot, type SlotState } from "@rowback/recovery";
import { captureLedger, leaseLost } from "./capture-ledger.ts";
import type { CaptureMetrics } from "./capture-metrics.ts";
import { compactLog } from "./compact-log.ts";
import type { CaptureSettings } from "./config.ts";
import { classify } from "./failure.ts";
import type { WorkerContext } from "./handlers/worker-context.ts";
import { healLostSlot, rebase } from "./heal-slot.ts";
import { withLease } from "./leased-store.ts";
import type { PooledSource } from "./source-pool.ts";

const RENEWALS_PER_LEASE = 3;
/** After a failure another worker may try at once; this one waits, twice as long each time. */
const PAUSE = { minMs: 1_000, maxMs: 30_000 };

export interface CaptureOptions {
  readonly worker: WorkerContext;
  readonly workerName: string;
  readonly settings: CaptureSettings;
  readonly metrics: CaptureMetrics;
  /** Hands a run whose row is written to the queue. */
  readonly enqueue: (runIds: readonly string[]) => Promise<void>;
}

export interface Captures {
  /** Lets go of every source, so that others take them up at once. */
  close(): Promise<void>;
}

/** Captures every source that is to be captured and that no other worker captures. */
export function startCaptures(options: CaptureOptions): Captures {
  const stop = new AbortController();
  const active = new Map<string, Promise<void>>();
  const pauses = new Map<string, { untilMs: number; ms: number }>();
  const look = async (): Promise<void> => {
    for (const sourceId of await listUncaptured(options.worker.control)) {
      const pausing = (pauses.get(sourceId)?.untilMs ?? 0) > performance.now();
      if (active.has(sourceId) || pausing || stop.signal.aborted) continue;
      const capture = captureSource(options, sourceId, stop.signal).then((went) => {
        active.delete(sourceId);
        if (went === "well") return void pauses.delete(sourceId);
        const ms = Math.min((pauses.get(sourceId)?.ms ?? PAUSE.minMs / 2) * 2, PAUSE.maxMs);
        pauses.set(sourceId, { ms, untilMs: performance.now() + ms });
      });
      active.set(sourceId, capture);
    }
  };
  const loop = repeatUntil(stop.signal, options.settings.lookEveryMs, () =>
    look().catch((error: unknown) => {
      options.worker.log.warn({ error: describeError(error) }, "could not look for sources to capture");
    }),
  );
  return {
    close: async () => {
      stop.abort(new RunStopped("shutdown"));
      await loop;
      await Promise.all(active.values());
    },
  };
}

/** Takes one source's capture, if it can, and goes on until the lease, the source or this worker ends. Never throws. */
async function captureSource(
  options: CaptureOptions,
  sourceId: string,
  ending: AbortSignal,
): Promise<"well" | "badly"> {
  const { worker, workerName, settings, metrics } = options;
  let lease: CaptureLease | null = null;
  try {
    const takenAt = performance.now();
    lease = await takeCapture(worker.control, { sourceId, worker: workerName, leaseMs: settings.leaseMs });
    if (lease === null) return "well";
    worker.log.info({ sourceId }, "this worker captures the source's changes");
    await new SourceCapture(options, lease, takenAt, ending).run();
    return "well";
  } catch (error) {
    const failure = classify(error);
    if (ending.aborted || failure.code === "lease_lost") return "well";
    const { code, message, hint } = failure;
    worker.log.error({ sourceId, code, error: describeError(error) }, "the capture failed; it is taken up again");
    if (lease !== null)
      await setCaptureProblem(worker.control, lease, { code, message, ...(hint === undefined ? {} : { hint }) }).catch(
        () => {},
      );
    return "badly";
  } finally {
    metrics.forget(sourceId);
    if (lease !== null) await releaseCapture(worker.control, lease).catch(() => {});
  }
}

/** One holding of one source's capture. */
class SourceCapture {
  readonly #options: CaptureOptions;
  readonly #lease: CaptureLease;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  #leaseEndsAt: number;
  #sourceUpdatedAt: number | null = null;
  #moved = false;

  constructor(options: CaptureOptions, lease: CaptureLease, takenAt: number, ending: AbortSignal) {
    this.#options = options;
    this.#lease = lease;
    this.#signal = AbortSignal.any([this.#stop.signal, ending]);
    this.#leaseEndsAt = takenAt + options.settings.leaseMs;
  }

  async run(): Promise<void> {
    const { settings } = this.#options;
    const timer = setInterval(() => void this.#renew(), settings.leaseMs / RENEWALS_PER_LEASE);
    try {
      await this.#options.worker.sources.use(this.#lease.sourceId, (pooled) => this.#capture(pooled));
    } catch (error) {
      // The source's row changed: the capture goes on with the new one.
      if (!this.#moved) throw error;
    } finally {
      clearInterval(timer);
      this.#stop.abort();
    }
  }

  async #capture(pooled: PooledSource): Promise<void> {
    const { worker, settings, metrics } = this.#options;
    const { source, catalogCache } = pooled;
    const { state, epoch } = await this.#prepare(pooled);
    const store = withLease(worker.store, this.#holder());
    const signal = this.#signal;
    const target = captureLedger({
      control: worker.control,
      store,
      lease: this.#lease,
      epoch: epoch.epoch,
      signal,
      onPublished: (segments, coveredAt) => metrics.published(source.id, segments, coveredAt),
    });
    await setCaptureProblem(worker.control, this.#lease, null);
    const observing = repeatUntil(signal, settings.observeEveryMs, () => this.#observe(pooled, state));
    const compacting = repeatUntil(signal, settings.compactEveryMs, () => this.#compact(epoch.epoch));
    try {
      await captureChanges(
        { store, source, catalogCache, log: worker.log, signal },
        {
          epoch: epoch.epoch,
          slotName: state.slotName,
          publicationName: state.publicationName,
          covered: { lsn: epoch.coveredLsn, at: epoch.coveredAt },
          target,
          limits: settings.segment,
          watchTablesMs: settings.watchTablesMs,
        },
      );
    } finally {
      this.#stop.abort();
      await Promise.all([observing, compacting]);
    }
  }

  /** A slot that is good and free, and its epoch; a lost one is replaced. */
  async #prepare(pooled: PooledSource): Promise<{ state: CaptureState; epoch: CaptureEpoch }> {
    const { worker, enqueue } = this.#options;
    const { source } = pooled;
    const state = await getCaptureState(worker.control, source.id);
    const current = async (): Promise<CaptureEpoch | undefined> =>
      (await listEpochs(worker.control, source.id)).find((one) => one.endedAt === null);
    let epoch = await current();
    if (state === null || epoch === undefined) throw leaseLost(source.id);
    const slot = await source.connect((client) => readSlot(client, state.slotName), { signal: this.#signal });
    if (slot.lost) {
      await healLostSlot(worker, source, this.#lease, state, epoch, this.#signal);
      epoch = await current();
      if (epoch === undefined) throw leaseLost(source.id);
    } else if (slot.activePid !== null) {
      // Its worker is dead or frozen, and the server has not noticed.
      worker.log.warn(
        { sourceId: source.id, pid: slot.activePid },
        "the slot is still read by somebody; he is cut off",
      );
      await this.#free(pooled, state.slotName);
    }
    if (epoch.rebasePending) await rebase(worker, source.id, epoch.epoch, enqueue, this.#signal);
    return { state, epoch };
  }

  async #free({ source }: PooledSource, slotName: string): Promise<void> {
    for (let free = false; !free; ) {
      this.#signal.throwIfAborted();
      await source.connect((client) => freeSlot(client, slotName), { signal: this.#signal });
      await new Promise((resolve) => setTimeout(resolve, FREE_WAIT_MS));
      const slot = await source.connect((client) => readSlot(client, slotName), { signal: this.#signal });
      free = slot.activePid === null;
    }
  }

  async #observe({ source }: PooledSource, { slotName }: CaptureState): Promise<void> {
    const { worker, settings, metrics } = this.#options;
    try {
      const slot = await source.connect((client) => readSlot(client, slotName), { signal: this.#signal });
      metrics.observed(source.id, slot);
      await observeSlot(worker.control, this.#lease, { serverLsn: slot.serverLsn, slotLagBytes: slot.lagBytes });
      if (alarming(slot, settings)) {
        const { lagBytes, safeBytes, lost } = slot;
        worker.log.error({ sourceId: source.id, lagBytes, safeBytes, lost }, "the source's slot is far behind");
      }
    } catch (error) {
      if (!this.#signal.aborted)
        worker.log.warn(
          { sourceId: source.id, error: describeError(error) },
          "the source's slot could not be looked at",
        );
    }
  }

  async #compact(epoch: number): Promise<void> {
    const { worker } = this.#options;
    const store = withLease(worker.store, this.#holder());
    try {
      await compactLog(worker.control, store, this.#lease, epoch, this.#signal);
    } catch (error) {
      if (!this.#signal.aborted)
        worker.log.warn({ sourceId: this.#lease.sourceId, error: describeError(error) }, "segments were not merged");
    }
  }

  async #renew(): Promise<void> {
    const { worker, settings } = this.#options;
    const askedAt = performance.now();
    try {
      const held = await renewCapture(worker.control, this.#lease, settings.leaseMs);
      if (held === null) return this.#stop.abort(leaseLost(this.#lease.sourceId));
      this.#leaseEndsAt = askedAt + settings.leaseMs;
      const updatedAt = held.sourceUpdatedAt.getTime();
      this.#moved = this.#sourceUpdatedAt !== null && updatedAt !== this.#sourceUpdatedAt;
      this.#sourceUpdatedAt ??= updatedAt;
      if (this.#moved) this.#stop.abort();
    } catch (error) {
      worker.log.warn({ sourceId: this.#lease.sourceId, error: describeError(error) }, "a capture was not renewed");
      this.#stopIfOver();
    }
  }

  #stopIfOver(): void {
    if (performance.now() >= this.#leaseEndsAt) this.#stop.abort(leaseLost(this.#lease.sourceId));
  }

  /** What `withLease` asks before each write: also in a process that was frozen, where no timer had a chance to fire. */
  #holder(): { readonly signal: AbortSignal } {
    const stopIfOver = (): void => this.#stopIfOver();
    const signal = this.#signal;
    return {
      get signal() {
        stopIfOver();
        return signal;
      },
    };
  }
}

const FREE_WAIT_MS = 100;

function alarming(slot: SlotState, settings: CaptureSettings): boolean {
  // A slot with a limit is lost soon when less than what is worth an alarm may still be written.
  const soon = slot.safeBytes !== null && slot.safeBytes < Math.min(settings.alarmBytes, slot.lagBytes);
  return slot.lost || soon || slot.lagBytes > settings.alarmBytes;
}

/** Again and again with a rest between, until the signal. `turn` must not throw. */
async function repeatUntil(signal: AbortSignal, everyMs: number, turn: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    await turn();
    await new Promise<void>((resolve) => {
      if (signal.aborted) return resolve();
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, everyMs);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}
