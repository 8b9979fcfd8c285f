import {
  beginEpoch,
  type ClaimedRun,
  type ControlDatabase,
  cancelRun,
  claimFairRuns,
  claimRun,
  closeUnpublishedGaps,
  failRun,
  type HeldLease,
  hasDueRuns,
  insertAuditEntry,
  listCancelRequested,
  listEpochs,
  type NewAuditEntry,
  postponeRun,
  type Queryable,
  type RingPlace,
  type RunClaim,
  recordProgress,
  releaseRun,
  renewLeases,
  replaceProtectedTables,
  requeueRun,
  succeedBackupRun,
  succeedRestorePointRun,
  succeedRestoreRun,
  succeedRun,
  turnCaptureOn,
  withSystem,
} from "@rowback/db";
import {
  type Claim,
  type ClaimRequest,
  type Failure,
  type FairClaims,
  type HeldClaim,
  JobName,
  jobsOf,
  LEASE_MS,
  type QueueName,
  type RunLedger,
} from "@rowback/jobs";
import type { RunOutcome } from "./outcomes.ts";

export interface RunLedgerOptions {
  readonly leaseMs?: number;
  readonly limits?: RunLimits;
  /** Whose runs can't be worked on now, as asked at each claim; "all" where nothing can. */
  readonly unwell?: (queue: QueueName) => readonly string[] | "all";
}

/** How many runs of one queue may be running at once, counting every worker. */
export interface RunLimits {
  readonly perTenant: number;
  readonly perSource: number;
}

/** The control database as the queue's ledger: one statement, one round trip, for each thing that happens to a run. */
export function createRunLedger(
  db: ControlDatabase,
  q: Queryable,
  worker: string,
  options: RunLedgerOptions = {},
): RunLedger<ClaimedRun, RunOutcome> {
  const { leaseMs = LEASE_MS } = options;
  return {
    claimFair: fairClaims(q, worker, options),
    claim: async (runId) => {
      const run = await claimRun(q, { runId, worker, leaseMs });
      return run === null ? null : claimOf(run);
    },
    renew: async (claims) => (await renewLeases(q, claims.map(proof), leaseMs)).map(heldClaim),
    cancelRequested: (claims) => listCancelRequested(q, claims.map(proof)),
    progress: async (claim, progress) => {
      const held = await recordProgress(q, proof(claim), progress);
      return held === null ? null : heldClaim(held);
    },
    succeed: (claim, outcome) => recordSuccess(db, q, claim, outcome),
    fail: (claim, failure) => failRun(q, proof(claim), runError(failure)),
    retry: async (claim, failure, delayMs) =>
      (await requeueRun(q, proof(claim), { delayMs, error: runError(failure) }))?.status ?? null,
    postpone: async (claim, failure, delayMs) =>
      (await postponeRun(q, proof(claim), { delayMs, error: runError(failure) }))?.status ?? null,
    release: async (claim) => (await releaseRun(q, proof(claim)))?.status ?? null,
    cancel: (claim) => cancelRun(q, proof(claim)),
  };
}

const UNLIMITED: RunLimits = { perTenant: 1_000_000, perSource: 1_000_000 };

/** Claims in turn: each goes on in the ring of tenants behind the last. Every worker goes round by itself. */
function fairClaims(
  q: Queryable,
  worker: string,
  { leaseMs = LEASE_MS, limits = UNLIMITED, unwell = () => [] }: RunLedgerOptions,
): (request: ClaimRequest) => Promise<FairClaims<ClaimedRun>> {
  const places = new Map<QueueName, RingPlace>();
  return async ({ queue, wanted }) => {
    const kinds = jobsOf(queue);
    const shutSources = unwell(queue);
    const runs =
      shutSources === "all"
        ? []
        : await claimFairRuns(q, { kinds, wanted, worker, leaseMs, ...limits, shutSources, after: places.get(queue) });
    const last = runs.at(-1);
    if (last !== undefined) places.set(queue, { sourceId: last.sourceId, tenantId: last.tenantId ?? last.sourceId });
    const othersWait = runs.length < wanted && (await hasDueRuns(q, kinds));
    return { claims: runs.map(claimOf), othersWait };
  };
}

function claimOf(run: ClaimedRun): Claim<ClaimedRun> {
  const { id: runId, attemptToken: token, attempt, maxAttempts } = run;
  return { runId, name: JobName.parse(run.kind), token, attempt, maxAttempts, run };
}

async function recordSuccess(
  db: ControlDatabase,
  q: Queryable,
  claim: Claim<ClaimedRun>,
  outcome: RunOutcome,
): Promise<boolean> {
  switch (outcome.kind) {
    case "backup":
      return succeedBackupRun(q, proof(claim), outcome.outcome, outcome.result);
    case "restore_point":
      return succeedRestorePointRun(q, proof(claim), outcome.point, outcome.result);
    case "history":
    case "backup_verify":
    case "tenant_erase":
      return succeedRun(q, proof(claim), outcome.result);
    case "restore_preview":
      return succeedRestoreRun(q, proof(claim), {
        result: outcome.plan,
        planDigest: outcome.plan.digest,
        changes: outcome.plan.tables.map(({ table, insert, update, delete: remove }) => ({
          table,
          insert,
          update,
          delete: remove,
        })),
        fingerprintsAfter: null,
      });
    case "restore":
      return succeedRestoreRun(q, proof(claim), {
        result: outcome.result,
        planDigest: outcome.result.planDigest,
        changes: outcome.result.tables,
        fingerprintsAfter: outcome.result.fingerprintsAfter,
      });
    case "capture_setup":
      return recordCapture(db, claim, outcome);
    case "capture_teardown":
      return succeedRun(q, proof(claim), outcome.result);
    case "discovery":
      // The tables are written only by who still holds the run, and are seen together with its success.
      return withSystem(db, async (client) => {
        const held = await succeedRun(client, proof(claim), outcome.result);
        if (!held) return false;
        await replaceProtectedTables(client, claim.run.sourceId, outcome.tables);
        await insertAuditEntry(client, finished(claim, "discovery.finish", { tables: outcome.tables.length }));
        return true;
      });
  }
}

/** The capture is on, with its new slot's epoch, together with the run's success; else the next attempt finds a slot of no epoch, and drops it. */
async function recordCapture(
  db: ControlDatabase,
  claim: Claim<ClaimedRun>,
  { capture, result }: Extract<RunOutcome, { kind: "capture_setup" }>,
): Promise<boolean> {
  const { sourceId } = claim.run;
  return await withSystem(db, async (client) => {
    await turnCaptureOn(client, { sourceId, ...capture });
    const epoch =
      capture.start === null
        ? (await listEpochs(client, sourceId)).at(-1)?.epoch
        : await beginEpoch(client, { sourceId, ...capture.start });
    if (epoch === undefined) throw new Error("a slot goes on that has no epoch");
    if (capture.joined !== null)
      await closeUnpublishedGaps(client, { sourceId, epoch, tables: capture.joined.tables }, capture.joined.causeXid);
    if (!(await succeedRun(client, proof(claim), result(epoch)))) throw new LostLease();
    const { slotName, tables } = capture;
    await insertAuditEntry(client, finished(claim, "capture.start", { epoch, slotName, tables: tables.length }));
    return true;
  }).catch((error: unknown) => {
    if (error instanceof LostLease) return false;
    throw error;
  });
}

/** For what a transaction here has changed: in the name of who asked, with the worker in place of an address. */
function finished({ run }: Claim<ClaimedRun>, action: string, after: object): NewAuditEntry {
  const { id: runId, tenantId, sourceId, requestedBy: userId, worker } = run;
  return { userId, action, tenantId, sourceId, runId, after: { ...after, worker } };
}

/** Rolls back what was written before it showed that the lease is lost. */
class LostLease extends Error {}

function proof(claim: Claim<ClaimedRun>): RunClaim {
  return { runId: claim.runId, attemptToken: claim.token };
}

function heldClaim(lease: HeldLease): HeldClaim {
  return { token: lease.attemptToken, cancelRequested: lease.cancelRequested };
}

function runError(failure: Failure): {
  code: string;
  message: string;
  hint?: string;
  retryable: boolean;
  table?: string;
} {
  const { code, message, hint, retryable, table } = failure;
  return {
    code,
    message,
    retryable,
    ...(hint === undefined ? {} : { hint }),
    ...(table === undefined ? {} : { table }),
  };
}
