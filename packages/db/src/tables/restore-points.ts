import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { Lsn, Micros, microsOf, timestampOf } from "../log-position.ts";
import { cursorAt, type Page, type PageRequest, pageOf, readPage } from "../page.ts";
import { firstRow, jsonb } from "../rows.ts";
import { RUN_STATES } from "../run-states.ts";
import type { TenantClient } from "../tenant-context.ts";
import { finishEntry } from "./audit-log.ts";
import { type InsertRunResult, insertRunWith, type NewRun } from "./insert-run.ts";
import { SUCCEED_RUN } from "./run-claims.ts";
import type { RunClaim } from "./run-row.ts";

/** A named place in the WAL, exactly between two transactions. Its id is its run's. */
export const RestorePoint = z.object({
  id: z.uuid(),
  tenantId: z.uuid(),
  sourceId: z.uuid(),
  name: z.string(),
  /** Null until its run has succeeded. */
  lsn: Lsn.nullable(),
  /** By the source's clock; microseconds since 1970. */
  at: Micros.nullable(),
  status: z.enum(RUN_STATES),
  requestedBy: z.string(),
  createdAt: z.date(),
});
export type RestorePoint = z.infer<typeof RestorePoint>;

const COLUMNS = `p.run_id AS id, p.tenant_id AS "tenantId", p.source_id AS "sourceId", p.name, p.lsn,
  ${microsOf("p.at")} AS at, r.status, r.requested_by AS "requestedBy", r.created_at AS "createdAt"`;

/** Writes a restore point and its queued run in one statement. */
export function insertRestorePointRun(
  q: Queryable,
  run: Omit<NewRun, "kind"> & { readonly tenantId: string },
  name: string,
): Promise<InsertRunResult> {
  return insertRunWith(q, { ...run, kind: "restore_point" }, { table: "restore_points", columns: { name } });
}

const FINISHED = finishEntry("restore-point.finish", "jsonb_build_object('lsn', $4::text)");

/** Ends the run well and records where the point is, in one statement. False: the lease is lost, nothing was written. */
export async function succeedRestorePointRun(
  q: Queryable,
  claim: RunClaim,
  point: { readonly lsn: string; readonly at: bigint },
  result: unknown,
): Promise<boolean> {
  const updated = await q.query({
    text: `WITH run AS (${SUCCEED_RUN}), entry AS (${FINISHED})
UPDATE restore_points p SET lsn = $4, at = ${timestampOf("$5")} FROM run WHERE p.run_id = run.id`,
    values: [claim.runId, claim.attemptToken, jsonb(result), point.lsn, point.at.toString()],
  });
  return updated.rowCount === 1;
}

/** The tenant's restore point of this name (the newest that is or may come to be) or null. */
export async function getRestorePoint(client: TenantClient, name: string): Promise<RestorePoint | null> {
  const result = await client.query({
    text: `SELECT ${COLUMNS} FROM restore_points p JOIN runs r ON r.id = p.run_id
WHERE p.tenant_id = $1 AND p.name = $2 AND r.status NOT IN ('failed', 'cancelled') ORDER BY r.created_at DESC LIMIT 1`,
    values: [client.tenantId, name],
  });
  return firstRow(result, RestorePoint);
}

/** The tenant's restore points, newest first. Throws InvalidCursorError. */
export async function listRestorePoints(client: TenantClient, page: PageRequest): Promise<Page<RestorePoint>> {
  const { limit, after } = readPage(page);
  const result = await client.query({
    text: `SELECT ${COLUMNS}, ${cursorAt("r.created_at")} FROM restore_points p JOIN runs r ON r.id = p.run_id
WHERE p.tenant_id = $1 AND ($2::timestamptz IS NULL OR (r.created_at, r.id) < ($2, $3::uuid))
ORDER BY r.created_at DESC, r.id DESC LIMIT $4`,
    values: [client.tenantId, after?.at ?? null, after?.id ?? null, limit + 1],
  });
  return pageOf(result, limit, RestorePoint);
}
