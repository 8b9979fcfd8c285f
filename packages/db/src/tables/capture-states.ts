import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { Lsn, Micros, microsOf, timestampOf, Xid } from "../log-position.ts";
import { allRows, firstRow, Int8, Json, jsonb } from "../rows.ts";
import { type RememberedTables, rememberTables } from "./captured-tables.ts";

/** Why a capture does not go on. */
export const CaptureProblem = z.object({ code: z.string(), message: z.string(), hint: z.string().optional() });
export type CaptureProblem = z.infer<typeof CaptureProblem>;

/** Whether a source is captured, by whom, and how far behind its slot is. */
export const CaptureState = z.object({
  sourceId: z.uuid(),
  status: z.enum(["on", "off"]),
  slotName: z.string(),
  publicationName: z.string(),
  /** The worker that captures now; null when nobody does. */
  worker: z.string().nullable(),
  leaseUntil: z.date().nullable(),
  /** The server's write position, and the bytes of WAL that the slot holds back, when last looked. */
  serverLsn: Lsn.nullable(),
  slotLagBytes: Int8.nullable(),
  observedAt: z.date().nullable(),
  problem: CaptureProblem.nullable(),
  /** JSON here: the caller parses it to recovery's Finding[]. */
  findings: z.array(Json),
  updatedAt: z.date(),
});
export type CaptureState = z.infer<typeof CaptureState>;

const STATE = `c.source_id AS "sourceId", c.status, c.slot_name AS "slotName", c.publication_name AS "publicationName", c.worker,
  c.lease_until AS "leaseUntil", c.server_lsn AS "serverLsn", c.slot_lag_bytes AS "slotLagBytes", c.observed_at AS "observedAt",
  c.problem, c.findings, c.updated_at AS "updatedAt"`;

/** One slot's time. Times are microseconds since 1970. */
export const CaptureEpoch = z.object({
  sourceId: z.uuid(),
  epoch: z.int(),
  /** A base is usable in the epoch if its snapshot's xmin is at least this. */
  startXid: Xid,
  startLsn: Lsn,
  startedAt: Micros,
  /** Everything committed up to there is in the log, or was nobody's. */
  coveredLsn: Lsn,
  coveredAt: Micros,
  /** Where the tables were looked at last: every gap that this could tell of and that began below is declared. Null: not yet. */
  seenLsn: Lsn.nullable(),
  /** Null: it goes on. */
  endedAt: Micros.nullable(),
  /** Its slot took the place of a lost one, and not every tenant's new full backup is asked for yet. */
  rebasePending: z.boolean(),
});
export type CaptureEpoch = z.infer<typeof CaptureEpoch>;

const EPOCH = `e.source_id AS "sourceId", e.epoch, e.start_xid AS "startXid", e.start_lsn AS "startLsn", ${microsOf("e.started_at")} AS "startedAt",
  e.covered_lsn AS "coveredLsn", ${microsOf("e.covered_at")} AS "coveredAt", e.seen_lsn AS "seenLsn", ${microsOf("e.ended_at")} AS "endedAt",
  e.rebase_pending AS "rebasePending"`;

/** The capture's state of a source, or null when it was never set up. System only. */
export async function getCaptureState(q: Queryable, sourceId: string): Promise<CaptureState | null> {
  const result = await q.query({
    text: `SELECT ${STATE} FROM capture_states c WHERE c.source_id = $1`,
    values: [sourceId],
  });
  return firstRow(result, CaptureState);
}

const CaptureStatus = CaptureState.pick({ status: true, problem: true });
export type CaptureStatus = z.infer<typeof CaptureStatus>;

/** What a tenant may know of its source's capture; null when that was never set up. */
export async function getCaptureStatus(q: Queryable, sourceId: string): Promise<CaptureStatus | null> {
  const result = await q.query({
    text: "SELECT c.status, c.problem FROM capture_states c WHERE c.source_id = $1",
    values: [sourceId],
  });
  return firstRow(result, CaptureStatus);
}

/** The epochs of a source, oldest first. */
export async function listEpochs(q: Queryable, sourceId: string): Promise<CaptureEpoch[]> {
  const result = await q.query({
    text: `SELECT ${EPOCH} FROM capture_epochs e WHERE e.source_id = $1 ORDER BY e.epoch`,
    values: [sourceId],
  });
  return allRows(result, CaptureEpoch);
}

/** Sources that are to be captured and that nobody captures. */
export async function listUncaptured(q: Queryable): Promise<string[]> {
  const result = await q.query({
    name: "list_uncaptured",
    text: "SELECT source_id AS id FROM capture_states WHERE status = 'on' AND (lease_until IS NULL OR lease_until < now())",
  });
  return allRows(result, z.object({ id: z.uuid() })).map((row) => row.id);
}

/** Who may write to a source's change log. */
export interface CaptureLease {
  readonly sourceId: string;
  readonly token: string;
}

/** Takes the capture of a source that nobody holds: the lease's token, or null. `leaseMs` by the database's clock. */
export async function takeCapture(
  q: Queryable,
  wish: { readonly sourceId: string; readonly worker: string; readonly leaseMs: number },
): Promise<CaptureLease | null> {
  const result = await q.query({
    text: `UPDATE capture_states c SET lease_token = gen_random_uuid(), worker = $2,
  lease_until = now() + $3 * interval '1 millisecond', updated_at = now()
WHERE c.source_id = $1 AND c.status = 'on' AND (c.lease_until IS NULL OR c.lease_until < now())
RETURNING c.source_id AS "sourceId", c.lease_token AS token`,
    values: [wish.sourceId, wish.worker, wish.leaseMs],
  });
  return firstRow(result, z.object({ sourceId: z.uuid(), token: z.uuid() }));
}

const HELD = "c.source_id = $1 AND c.lease_token = $2 AND c.status = 'on'";

/**
 * Prolongs the lease. Null: it is lost, or the capture was turned off; the holder must stop.
 * @returns when the source's row was changed last: its connection, tenancy or rules may be others by now
 */
export async function renewCapture(
  q: Queryable,
  lease: CaptureLease,
  leaseMs: number,
): Promise<{ readonly sourceUpdatedAt: Date } | null> {
  const result = await q.query({
    name: "renew_capture",
    text: `UPDATE capture_states c SET lease_until = now() + $3 * interval '1 millisecond', updated_at = now() WHERE ${HELD}
RETURNING (SELECT s.updated_at FROM sources s WHERE s.id = c.source_id) AS "sourceUpdatedAt"`,
    values: [lease.sourceId, lease.token, leaseMs],
  });
  return firstRow(result, z.object({ sourceUpdatedAt: z.date() }));
}

/** Gives the lease back, so that another worker need not wait for its end. */
export async function releaseCapture(q: Queryable, lease: CaptureLease): Promise<void> {
  await q.query({
    text: `UPDATE capture_states c SET lease_token = NULL, lease_until = NULL, worker = NULL, updated_at = now()
WHERE c.source_id = $1 AND c.lease_token = $2`,
    values: [lease.sourceId, lease.token],
  });
}

/** Records what was last seen of the slot. */
export async function observeSlot(
  q: Queryable,
  lease: CaptureLease,
  seen: { readonly serverLsn: string; readonly slotLagBytes: number },
): Promise<void> {
  await q.query({
    name: "observe_slot",
    text: `UPDATE capture_states c SET server_lsn = $3, slot_lag_bytes = $4, observed_at = now() WHERE ${HELD}`,
    values: [lease.sourceId, lease.token, seen.serverLsn, seen.slotLagBytes],
  });
}

/** Says why the capture does not go on; null: it does. */
export async function setCaptureProblem(
  q: Queryable,
  lease: CaptureLease,
  problem: CaptureProblem | null,
): Promise<void> {
  await q.query({
    text: `UPDATE capture_states c SET problem = $3, updated_at = now() WHERE ${HELD} AND c.problem IS DISTINCT FROM $3`,
    values: [lease.sourceId, lease.token, jsonb(problem)],
  });
}

export interface NewCapture {
  readonly sourceId: string;
  readonly slotName: string;
  readonly publicationName: string;
  readonly findings: readonly unknown[];
}

/** Turns a source's capture on, or writes its findings anew where it is. */
export async function turnCaptureOn(q: Queryable, capture: NewCapture): Promise<void> {
  await q.query({
    text: `INSERT INTO capture_states AS c (source_id, status, slot_name, publication_name, findings) VALUES ($1, 'on', $2, $3, $4)
ON CONFLICT (source_id) DO UPDATE SET status = 'on', slot_name = EXCLUDED.slot_name, publication_name = EXCLUDED.publication_name,
  findings = EXCLUDED.findings, problem = NULL, updated_at = now()`,
    values: [capture.sourceId, capture.slotName, capture.publicationName, jsonb(capture.findings)],
  });
}

/** Turns it off, whoever holds it: its holder loses the lease with this statement. */
export async function turnCaptureOff(q: Queryable, sourceId: string): Promise<void> {
  await q.query({
    text: `UPDATE capture_states c SET status = 'off', lease_token = NULL, lease_until = NULL, worker = NULL, problem = NULL,
  server_lsn = NULL, slot_lag_bytes = NULL, observed_at = NULL, updated_at = now() WHERE c.source_id = $1`,
    values: [sourceId],
  });
}

export interface NewEpoch {
  readonly sourceId: string;
  readonly startXid: bigint;
  readonly startLsn: string;
  /** Microseconds since 1970. */
  readonly startedAt: bigint;
  /** Its slot takes the place of a lost one: every tenant is to get a new full backup. */
  readonly rebase?: boolean;
  /** The tables just before the slot was made. */
  readonly seen?: SeenBySetup | undefined;
}

type SeenBySetup = Omit<RememberedTables, "tables" | "ddlTrigger"> & {
  readonly tables: readonly { readonly oid: number }[];
  readonly ddlTrigger: unknown;
};

/** Begins the next epoch at a slot that was just made, and ends the one before, if any; the new epoch's number. */
export async function beginEpoch(q: Queryable, start: NewEpoch): Promise<number> {
  await endEpoch(q, start.sourceId);
  const result = await q.query({
    text: `INSERT INTO capture_epochs (source_id, epoch, start_xid, start_lsn, started_at, covered_lsn, covered_at, rebase_pending)
SELECT $1, coalesce(max(epoch), 0) + 1, $2, $3, ${timestampOf("$4")}, $3, ${timestampOf("$4")}, $5 FROM capture_epochs WHERE source_id = $1
RETURNING epoch`,
    values: [
      start.sourceId,
      start.startXid.toString(),
      start.startLsn,
      start.startedAt.toString(),
      start.rebase ?? false,
    ],
  });
  const begun = firstRow(result, z.object({ epoch: z.int() }));
  if (begun === null) throw new Error("the epoch was not inserted");
  const { sourceId, seen } = start;
  if (seen !== undefined) await rememberTables(q, { sourceId, ...begun }, seen, { tables: seen.tables, gone: [] });
  return begun.epoch;
}

/** Ends the current epoch, if there is one: its slot is gone. */
export async function endEpoch(q: Queryable, sourceId: string): Promise<CaptureEpoch | null> {
  const result = await q.query({
    text: `UPDATE capture_epochs e SET ended_at = now() WHERE e.source_id = $1 AND e.ended_at IS NULL RETURNING ${EPOCH}`,
    values: [sourceId],
  });
  return firstRow(result, CaptureEpoch);
}

/** The new full backups of the epoch are all asked for. */
export async function markRebased(q: Queryable, sourceId: string, epoch: number): Promise<void> {
  await q.query({
    text: "UPDATE capture_epochs SET rebase_pending = false WHERE source_id = $1 AND epoch = $2",
    values: [sourceId, epoch],
  });
}
