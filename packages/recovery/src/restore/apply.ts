import { createHash } from "node:crypto";
import { equalFingerprints } from "../archive/fingerprint.ts";
import type { Fingerprint } from "../archive/manifest.ts";
import { RecoveryError } from "../errors.ts";
import type { SourceClient } from "../postgres/source.ts";
import type { VerbContext } from "../verb-context.ts";
import { type CommitMark, readCommitMark } from "./commit-mark.ts";
import { isChanged, type TableDifference } from "./difference.ts";
import type { ComparedTable } from "./drift.ts";
import { lockRows, writeDifference } from "./execute.ts";
import { checkIntegrity } from "./integrity.ts";
import { hasBackupColumns, measureStored } from "./measure.ts";
import type { PlanConflict, RestoreExpectation, RestoreOutcome, RestoreRequest, SchemaDrift } from "./plan.ts";
import {
  type OpenedRestore,
  type OpenTarget,
  openArchive,
  openRestore,
  type PreparedRestore,
  prepareRestore,
} from "./prepare.ts";
import { missingPrivileges } from "./preview.ts";
import { advanceSequences } from "./sequences.ts";
import type { RestoreSession } from "./session.ts";
import { readWriteCounters } from "./write-counters.ts";

/** Longer than an ordinary transaction of an application; beyond it, waiting while holding locks ourselves does more harm than trying again. */
const LOCK_TIMEOUT_MS = 30_000;

/**
 * From the first lock to the commit a worker only waits for the source, and once for the control database. One that is silent for longer
 * was frozen or cut off, and must not hold a customer's rows for as long.
 */
const IDLE_TIMEOUT_MS = 60_000;

/**
 * Restores one tenant in one transaction: all of the plan, or nothing. The difference is computed again, so what is applied is
 * what `expect` saw or the restore is refused; after the writes everything that must hold is checked before the commit. The
 * transaction is READ COMMITTED, so that the last check sees what others committed meanwhile.
 *
 * An undo is this with the pre-restore backup, mode `exact`, its tables, and the fingerprints that the restore left behind.
 *
 * @throws RecoveryError `plan_stale`, `plan_conflict`, `schema_drift`, `integrity_failed`, `restore_in_progress`,
 *   `archive_damaged`, `manifest_*`, `unknown_table`, `invalid_request`, `source_*`, `store_*`, `cancelled`
 */
export async function applyRestore(
  ctx: VerbContext,
  request: RestoreRequest & {
    readonly expect: RestoreExpectation | null;
    /** Called with what is about to be committed, and where to ask whether it was; when it throws, nothing is. */
    readonly beforeCommit?: (mark: CommitMark, outcome: RestoreOutcome) => Promise<void>;
  },
  openTarget: OpenTarget = openArchive,
): Promise<RestoreOutcome> {
  const archive = await openTarget(ctx, request);
  return ctx.source.connect(
    async (client) => {
      await client.query("BEGIN ISOLATION LEVEL READ COMMITTED");
      await claimTenant(client, request.tenantKey);
      const opened = await openRestore(ctx, client, request, archive);
      const { session } = opened;
      refuseDrift(opened.drift);

      refuseUnknownExpectation(opened.tables, request.expect);
      const prepared = await prepareRestore(opened, (compared, live) =>
        refuseOtherState(session, compared, live, request.expect),
      );
      refuseDrift(prepared.drift);
      refuseOtherPlan(prepared, request.expect);
      refuseConflicts(prepared.conflicts);
      refuseMissingPrivileges(prepared.differences);

      session.progress.enter("applying");
      await client.query(
        `SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}; SET LOCAL idle_in_transaction_session_timeout = ${IDLE_TIMEOUT_MS}`,
      );
      const fingerprintsBefore = await storedFingerprints(session, prepared, "liveBefore");
      if (session.triggersMode === "suppress") await client.query("SET LOCAL session_replication_role = replica");
      await lockRows(session, prepared.differences);
      const countersBefore = await readWriteCounters(client);
      const counts = await writeDifference(session, prepared.differences, prepared.order);

      session.progress.enter("verifying");
      await checkIntegrity(session, prepared.differences, prepared.rules, { counts, countersBefore });
      const fingerprintsAfter = await storedFingerprints(session, prepared, "liveAfter");
      const warnings = await advanceSequences(session, prepared.differences);
      const outcome = describeOutcome(opened, prepared, { fingerprintsBefore, fingerprintsAfter, warnings });
      if (request.beforeCommit !== undefined) await request.beforeCommit(await readCommitMark(client), outcome);
      ctx.signal.throwIfAborted();
      await client.query("COMMIT");
      return outcome;
    },
    { signal: ctx.signal },
  );
}

/**
 * One restore of a tenant at a time, also when two Rowbacks know the same source: the lock lives in the source and ends with
 * the transaction.
 */
async function claimTenant(client: SourceClient, tenantKey: string): Promise<void> {
  const key = createHash("sha256").update(`rowback restore\0${tenantKey}`).digest().readBigInt64BE();
  const { rows } = await client.query<{ claimed: boolean }>("SELECT pg_try_advisory_xact_lock($1::bigint) AS claimed", [
    key.toString(),
  ]);
  if (rows[0]?.claimed === true) return;
  throw new RecoveryError("restore_in_progress", "Another restore of this tenant is being applied.", {
    // It may be an earlier attempt of this very run, whose session the server has not given up yet.
    retryable: true,
    hint: "Wait for it to end, then preview again.",
  });
}

function refuseDrift(drift: readonly SchemaDrift[]): void {
  const blocking = drift.filter((one) => one.blocking);
  const [first] = blocking;
  if (first === undefined) return;
  throw new RecoveryError("schema_drift", blocking.map((one) => one.message).join(" "), {
    table: first.table,
    hint: "Leave the table out of the restore, or bring its schema back for the time of the restore.",
  });
}

function refuseUnknownExpectation(tables: readonly ComparedTable[], expect: RestoreExpectation | null): void {
  if (expect === null || !("fingerprints" in expect)) return;
  const unknown = Object.keys(expect.fingerprints).find((label) => !tables.some((one) => one.label === label));
  if (unknown === undefined) return;
  throw new RecoveryError("invalid_request", `${unknown} is expected, but not part of this restore.`, {
    table: unknown,
    hint: "Name every table that is expected.",
  });
}

/** An undo expects the rows that its restore left behind: whoever wrote since would lose that work. */
async function refuseOtherState(
  session: RestoreSession,
  compared: ComparedTable,
  live: Fingerprint,
  expect: RestoreExpectation | null,
): Promise<void> {
  if (expect === null || !("fingerprints" in expect)) return;
  const expected = expect.fingerprints[compared.label];
  if (expected === undefined) return;
  const stored = hasBackupColumns(compared) ? live : await measureStored(session, compared);
  if (equalFingerprints(stored, expected)) return;
  throw new RecoveryError(
    "plan_stale",
    `The tenant's rows of ${compared.label} were written since; nothing was changed.`,
    {
      table: compared.label,
      hint: "Preview a restore of the same backup to see what would be lost.",
    },
  );
}

function refuseOtherPlan(prepared: PreparedRestore, expect: RestoreExpectation | null): void {
  if (expect === null || !("planDigest" in expect) || expect.planDigest === prepared.digest) return;
  throw new RecoveryError("plan_stale", "Live data or schema moved since the preview; nothing was changed.", {
    hint: "Preview again and apply the new plan.",
  });
}

function refuseConflicts(conflicts: readonly PlanConflict[]): void {
  const [first] = conflicts;
  if (first === undefined) return;
  throw new RecoveryError("plan_conflict", conflicts.map((one) => one.message).join(" "), {
    table: first.table,
    hint: "Restore the tables on both sides of each constraint together, or move the rows in the way.",
  });
}

function refuseMissingPrivileges(differences: readonly TableDifference[]): void {
  const missing = missingPrivileges(differences);
  if (missing.length === 0) return;
  throw new RecoveryError("source_privilege_missing", missing.join(" "), {
    hint: "Grant the role what it lacks on these tables.",
  });
}

/** By label, over all stored columns: what a backup of this moment says, so that an undo can compare. */
async function storedFingerprints(
  session: RestoreSession,
  prepared: PreparedRestore,
  when: "liveBefore" | "liveAfter",
): Promise<Record<string, Fingerprint>> {
  const fingerprints: Record<string, Fingerprint> = {};
  for (const difference of prepared.differences.filter(isChanged)) {
    const { compared } = difference;
    fingerprints[compared.label] = hasBackupColumns(compared)
      ? difference[when]
      : await measureStored(session, compared);
  }
  return fingerprints;
}

function describeOutcome(
  opened: OpenedRestore,
  prepared: PreparedRestore,
  found: Pick<RestoreOutcome, "fingerprintsBefore" | "fingerprintsAfter" | "warnings">,
): RestoreOutcome {
  return {
    planDigest: prepared.digest,
    tables: prepared.differences.filter(isChanged).map(({ compared, change }) => ({
      table: compared.label,
      inserted: change.inserted.rows,
      updated: change.replaced.rows,
      deleted: change.deleted.rows,
    })),
    fingerprintsBefore: found.fingerprintsBefore,
    fingerprintsAfter: found.fingerprintsAfter,
    warnings: [...opened.warnings, ...found.warnings],
  };
}
