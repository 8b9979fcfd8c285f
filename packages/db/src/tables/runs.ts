import type { Queryable } from "../control-database.ts";
import { cursorAt, type Page, type PageRequest, pageOf, readPage } from "../page.ts";
import { allRows, firstRow } from "../rows.ts";
import type { RunState } from "../run-states.ts";
import type { TenantClient } from "../tenant-context.ts";
import { type InsertRunResult, insertRunWith, type NewRun } from "./insert-run.ts";
import { Count, RUN_COLUMNS, RUN_KINDS, Run, type RunKind } from "./run-row.ts";

/**
 * Writes a queued run of a kind that has no table of its own (discovery, backup_verify); one statement.
 * Backups and restores go through `insertBackupRun` and `insertRestoreRun`.
 */
export function insertRun(q: Queryable, run: NewRun): Promise<InsertRunResult> {
  return insertRunWith(q, run, null);
}

/** The run, or null. Under a TenantClient another tenant's run is null too. */
export async function getRun(q: Queryable, runId: string): Promise<Run | null> {
  const result = await q.query({
    name: "get_run",
    text: `SELECT ${RUN_COLUMNS} FROM runs r WHERE r.id = $1`,
    values: [runId],
  });
  return firstRow(result, Run);
}

/** The present state of many runs, in one query; unknown ones are left out. */
export async function getRuns(q: Queryable, runIds: readonly string[]): Promise<Run[]> {
  const result = await q.query({
    name: "get_runs",
    text: `SELECT ${RUN_COLUMNS} FROM runs r WHERE r.id = ANY ($1::uuid[])`,
    values: [runIds],
  });
  return allRows(result, Run);
}

export interface RunFilter {
  readonly kinds?: readonly RunKind[] | undefined;
  readonly status?: RunState | undefined;
}

/** The tenant's runs, newest first. Throws InvalidCursorError. */
export async function listRuns(client: TenantClient, filter: RunFilter, page: PageRequest): Promise<Page<Run>> {
  const { limit, after } = readPage(page);
  // The newest of each kind from its own stretch of the index runs_newest, then the newest of those.
  const result = await client.query({
    text: `SELECT newest.* FROM unnest($2::text[]) AS wanted (kind) CROSS JOIN LATERAL (
  SELECT ${RUN_COLUMNS}, ${cursorAt("r.created_at")} FROM runs r
  WHERE r.tenant_id = $1 AND r.kind = wanted.kind AND ($3::text IS NULL OR r.status = $3)
    AND ($4::timestamptz IS NULL OR (r.created_at, r.id) < ($4, $5::uuid))
  ORDER BY r.created_at DESC, r.id DESC LIMIT $6) newest
ORDER BY newest."cursorAt" DESC, newest.id DESC LIMIT $6`,
    values: [
      client.tenantId,
      filter.kinds ?? RUN_KINDS,
      filter.status ?? null,
      after?.at ?? null,
      after?.id ?? null,
      limit + 1,
    ],
  });
  return pageOf(result, limit, Run);
}

/** The newest discovery of a source that ended well, or null. */
export async function lastDiscovery(q: Queryable, sourceId: string): Promise<Run | null> {
  const result = await q.query({
    text: `SELECT ${RUN_COLUMNS} FROM runs r
WHERE r.source_id = $1 AND r.tenant_id IS NULL AND r.kind = 'discovery' AND r.status = 'succeeded'
ORDER BY r.created_at DESC, r.id DESC LIMIT 1`,
    values: [sourceId],
  });
  return firstRow(result, Run);
}

/** How many runs of these kinds this user asked for, for this tenant, in the last `withinMs` milliseconds. */
export async function countRecentRuns(
  client: TenantClient,
  asked: { readonly kinds: readonly RunKind[]; readonly requestedBy: string; readonly withinMs: number },
): Promise<number> {
  const result = await client.query({
    text: `SELECT count(*) FROM runs r WHERE r.tenant_id = $1 AND r.kind = ANY ($2) AND r.requested_by = $3
AND r.created_at > now() - $4 * interval '1 millisecond'`,
    values: [client.tenantId, asked.kinds, asked.requestedBy, asked.withinMs],
  });
  return firstRow(result, Count)?.count ?? 0;
}

export type RequestCancelResult =
  /** It had not begun, and never will. */
  | { readonly outcome: "cancelled"; readonly run: Run }
  /** Its worker is told at its next renewal of the lease. */
  | { readonly outcome: "requested"; readonly run: Run }
  /** It had ended already. */
  | { readonly outcome: "ended"; readonly run: Run };

/** Asks for a run's end; null when there is no such run (or it is another tenant's). Asking again changes nothing. */
export async function requestCancel(q: Queryable, runId: string): Promise<RequestCancelResult | null> {
  const result = await q.query({
    text: `UPDATE runs r SET
  cancel_requested_at = coalesce(r.cancel_requested_at, now()), updated_at = now(),
  status = CASE r.status WHEN 'running' THEN r.status ELSE 'cancelled' END,
  finished_at = CASE WHEN r.status <> 'running' THEN now() END
WHERE r.id = $1 AND r.status IN ('awaiting_approval', 'queued', 'running')
RETURNING ${RUN_COLUMNS}`,
    values: [runId],
  });
  const run = firstRow(result, Run);
  if (run !== null) return { outcome: run.status === "cancelled" ? "cancelled" : "requested", run };
  const ended = await getRun(q, runId);
  return ended === null ? null : { outcome: "ended", run: ended };
}
