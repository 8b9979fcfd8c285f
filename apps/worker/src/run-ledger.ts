import {
  type ClaimedRun,
  type ControlDatabase,
  cancelRun,
  claimRun,
  failRun,
  type HeldLease,
  listCancelRequested,
  type Queryable,
  type RunClaim,
  recordProgress,
  releaseRun,
  renewLeases,
  replaceProtectedTables,
  requeueRun,
  succeedBackupRun,
  succeedRestoreRun,
  succeedRun,
  withSystem,
} from "@rowback/db";
import { type Claim, type Failure, type HeldClaim, LEASE_MS, type RunLedger } from "@rowback/jobs";
import type { RunOutcome } from "./outcomes.ts";

/** The control database as the queue's ledger: one statement, one round trip, for each thing that happens to a run. */
export function createRunLedger(
  db: ControlDatabase,
  q: Queryable,
  worker: string,
  leaseMs: number = LEASE_MS,
): RunLedger<ClaimedRun, RunOutcome> {
  return {
    claim: async (runId) => {
      const run = await claimRun(q, { runId, worker, leaseMs });
      if (run === null) return null;
      return { runId, token: run.attemptToken, attempt: run.attempt, maxAttempts: run.maxAttempts, run };
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
    release: async (claim) => (await releaseRun(q, proof(claim)))?.status ?? null,
    cancel: (claim) => cancelRun(q, proof(claim)),
  };
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
    case "backup_verify":
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
    case "discovery":
      // The tables are written only by who still holds the run, and are seen together with its success.
      return withSystem(db, async (client) => {
        const held = await succeedRun(client, proof(claim), outcome.result);
        if (held) await replaceProtectedTables(client, claim.run.sourceId, outcome.tables);
        return held;
      });
  }
}

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
