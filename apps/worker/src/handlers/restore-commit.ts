import { type CommitIntent, clearCommitIntent, getCommitIntent, recordCommitIntent } from "@rowback/db";
import { RestoreResult, RunStopped } from "@rowback/jobs";
import { type CommitMark, settleTransaction, type TransactionFate } from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";
import type { RunTask, WorkerContext } from "./worker-context.ts";

// A worker that shuts down gives its runs five seconds to stop; what is not known by then is asked by the next attempt.
const SETTLE_WITHIN_MS = 4_000;

/**
 * The result of a restore that an earlier attempt committed without living to say so; null when there is none. An attempt
 * that was rolled back, or whose fate no server can tell any more, is forgotten: what the restore expects of the live rows
 * still protects them.
 *
 * @throws RunStopped `cancelled` when the run was to be cancelled, and nothing was committed
 */
export async function settleEarlierAttempt(worker: WorkerContext, task: RunTask): Promise<RestoreResult | null> {
  const intent = await getCommitIntent(worker.control, task.run.id);
  if (intent === null) return null;
  const fate = await fateOf(worker, intent, task.signal);
  worker.log.warn(
    { runId: task.run.id, fate },
    "an earlier attempt of the restore ended before it was known to be committed",
  );
  if (fate === "committed") return RestoreResult.parse(intent.result);
  await forget(worker, task);
  if (intent.cancelled) throw new RunStopped("cancelled");
  return null;
}

/**
 * Runs a restore whose commit can be asked for: it must call `announce` right before it commits. When it fails after that,
 * the source is asked whether the failure came before the commit or after; where it does not answer, the run can't end, and
 * goes back to the queue (migration 0020).
 */
export async function withCommitIntent(
  worker: WorkerContext,
  task: RunTask,
  sourceId: string,
  run: (announce: (mark: CommitMark, result: RestoreResult) => Promise<void>) => Promise<RestoreResult>,
): Promise<RestoreResult> {
  const announced: CommitIntent[] = [];
  try {
    return await run(async (mark, result) => {
      const intent = { ...mark, sourceId, result, cancelled: false };
      announced.push(intent);
      if (!(await recordCommitIntent(worker.control, claimOf(task), intent))) throw leaseLost();
    });
  } catch (error) {
    const [intent] = announced;
    if (intent === undefined) throw error;
    const fate = await fateOf(worker, intent, AbortSignal.timeout(SETTLE_WITHIN_MS)).catch(() => null);
    if (fate === "committed") return RestoreResult.parse(intent.result);
    if (fate === "rolled_back") await forget(worker, task).catch(() => {});
    throw error;
  }
}

async function forget(worker: WorkerContext, task: RunTask): Promise<void> {
  if (!(await clearCommitIntent(worker.control, claimOf(task)))) throw leaseLost();
}

function fateOf(worker: WorkerContext, intent: CommitIntent, signal: AbortSignal): Promise<TransactionFate> {
  return worker.sources.use(intent.sourceId, ({ source }) => settleTransaction(source, intent, signal));
}

function claimOf({ run }: RunTask): { runId: string; attemptToken: string } {
  return { runId: run.id, attemptToken: run.attemptToken };
}

function leaseLost(): RecoveryError {
  return new RecoveryError("lease_lost", "The run's lease ended; another worker may have it.");
}
