import type { ClaimedRun, ControlDatabase, Queryable, Tenant } from "@rowback/db";
import { getTenant } from "@rowback/db";
import type { Task } from "@rowback/jobs";
import type { Clock, Compression, KeyRing, Log, VerbContext } from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";
import type { ObjectStore } from "@rowback/storage";
import type { LeaseHolder } from "../leased-store.ts";
import type { Outcomes } from "../outcomes.ts";
import type { PooledSource, SourcePool } from "../source-pool.ts";

/** What every handler has at hand. */
export interface WorkerContext {
  readonly db: ControlDatabase;
  readonly control: Queryable;
  readonly store: ObjectStore;
  /** The store for one attempt of a run: it can publish and delete nothing any more once the lease is lost. */
  readonly leasedStore: (holder: LeaseHolder) => ObjectStore;
  readonly sources: SourcePool;
  /** Undefined: no master key is set. */
  readonly keys: KeyRing | undefined;
  /** Of new backups. */
  readonly compression: Compression;
  readonly clock: Clock;
  readonly log: Log;
  /** How long a backup that is made from the change log waits for it, in milliseconds. */
  readonly logWaitMs: number;
}

export type RunTask = Task<ClaimedRun, Outcomes>;

/** What a verb is given for this attempt of this run. */
export function verbContext(worker: WorkerContext, task: RunTask, { source }: PooledSource): VerbContext {
  return {
    store: worker.leasedStore(task),
    source,
    keys: worker.keys,
    clock: worker.clock,
    log: worker.log,
    get signal() {
      return task.signal;
    },
    onProgress: (progress) => task.report(progress),
  };
}

/** The run's tenant. Throws `not_found` where it is gone. */
export async function tenantOf(worker: WorkerContext, run: ClaimedRun): Promise<Tenant> {
  const tenant = run.tenantId === null ? null : await getTenant(worker.control, run.tenantId);
  if (tenant === null)
    throw new RecoveryError("not_found", "The run's tenant does not exist any more.", { runId: run.id });
  if (tenant.erasedAt !== null)
    throw new RecoveryError("conflict", "The run's tenant was erased: nothing of it is stored any more, nor will be.", {
      tenantId: tenant.id,
      runId: run.id,
    });
  return tenant;
}
