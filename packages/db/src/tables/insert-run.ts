import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { firstRow, jsonb } from "../rows.ts";
import { RUN_COLUMNS, Run, type RunKind } from "./run-row.ts";

export interface NewRun {
  /** A new UUID when left out. */
  readonly id?: string;
  readonly kind: RunKind;
  /** Null for what is the source's as a whole (a discovery, a capture's setup), and only there. */
  readonly tenantId: string | null;
  readonly sourceId: string;
  /** How often it may be tried in all, 1 … */
  readonly maxAttempts: number;
  /** Anything JSON can say; never a secret. */
  readonly params?: unknown;
  readonly parentRunId?: string;
  /** The user's id, or the part of the system that asks. */
  readonly requestedBy: string;
  /** `digest` must cover the route and the body, so that one key can't mean two things. */
  readonly idempotency?: { readonly key: string; readonly digest: string } | undefined;
}

export type InsertRunResult =
  | { readonly outcome: "created"; readonly run: Run }
  /** The same request came before; this is its run. */
  | { readonly outcome: "existing"; readonly run: Run }
  /** The key came before with another request. */
  | { readonly outcome: "idempotency_conflict"; readonly runId: string }
  /** Another restore of the tenant waits for approval, is queued or running. */
  | { readonly outcome: "restore_in_progress"; readonly runId: string };

/** A row that belongs to the run and is written by the same statement: `columns` of `table`, beside run_id, tenant_id and source_id. */
export interface Companion {
  readonly table: "backup_jobs" | "restore_jobs" | "restore_points";
  readonly columns: Readonly<Record<string, unknown>>;
  /** SQL for further columns, of the run's row called `r`. */
  readonly computed?: Readonly<Record<string, string>>;
}

// In the statement itself: between reading the setting and writing the row it could be turned on.
const FIRST_STATUS = `CASE WHEN $2::text = 'restore'
    AND EXISTS (SELECT FROM tenant_settings s WHERE s.tenant_id = $3::uuid AND s.restores_need_approval)
  THEN 'awaiting_approval' ELSE 'queued' END`;

// Between "somebody else has it" and looking who, that somebody may have ended; more often than this it is no coincidence.
const RACES = 5;

/**
 * Writes the run, and its companion, in one statement: queued, or awaiting approval where it is a restore and the tenant
 * asks for a second person. A conflict costs a second statement and is a result, not an error.
 */
export async function insertRunWith(q: Queryable, run: NewRun, companion: Companion | null): Promise<InsertRunResult> {
  const id = run.id ?? randomUUID();
  for (let race = 0; race < RACES; race += 1) {
    const created = firstRow(await q.query(insertStatement(id, run, companion)), Run);
    if (created !== null) return { outcome: "created", run: created };
    const holder = await whoHasIt(q, run);
    if (holder !== null) return holder;
  }
  throw new Error(`run ${id} could not be inserted: its id is taken, or its rivals come and go`);
}

function insertStatement(
  id: string,
  run: NewRun,
  companion: Companion | null,
): { name: string; text: string; values: unknown[] } {
  const values = [
    id,
    run.kind,
    run.tenantId,
    run.sourceId,
    run.maxAttempts,
    jsonb(run.params ?? {}),
    run.parentRunId ?? null,
    run.requestedBy,
    run.idempotency?.key ?? null,
    run.idempotency?.digest ?? null,
  ];
  const columns = Object.keys(companion?.columns ?? {});
  const computed = companion?.computed ?? {};
  const job =
    companion === null
      ? ""
      : `, job AS (
  INSERT INTO ${companion.table} (run_id, tenant_id, source_id, ${[...columns, ...Object.keys(computed)].join(", ")})
  SELECT r.id, r.tenant_id, r.source_id, ${[...columns.map((_, index) => `$${values.length + index + 1}`), ...Object.values(computed)].join(", ")} FROM run r)`;
  return {
    name: `insert_run_with_${companion?.table ?? "nothing"}`,
    text: `WITH run AS (
  INSERT INTO runs (id, kind, tenant_id, source_id, max_attempts, params, parent_run_id, requested_by, idempotency_key, request_digest, status)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, ${FIRST_STATUS})
  ON CONFLICT DO NOTHING RETURNING *)${job}
SELECT ${RUN_COLUMNS} FROM run r`,
    values: [...values, ...Object.values(companion?.columns ?? {})],
  };
}

const KeyedRun = Run.extend({ requestDigest: z.string() });

/** Who sent which request. `sourceId` matters only to a run that is no tenant's. */
export type KeyedRequest = Pick<NewRun, "tenantId" | "requestedBy" | "idempotency"> & {
  readonly sourceId: string | null;
};

/**
 * What came of an earlier sending of this request, before anything of the present state is looked at; null when it has
 * no key or never came. Two sendings at the same time both get null here: the insert decides between them.
 */
export async function findKeyedRun(q: Queryable, request: KeyedRequest): Promise<InsertRunResult | null> {
  if (request.idempotency === undefined) return null;
  const keyed = await q.query({
    text: `SELECT ${RUN_COLUMNS}, r.request_digest AS "requestDigest" FROM runs r
WHERE r.tenant_id IS NOT DISTINCT FROM $1 AND (r.tenant_id IS NOT NULL OR r.source_id = $2) AND r.requested_by = $3 AND r.idempotency_key = $4`,
    values: [request.tenantId, request.sourceId, request.requestedBy, request.idempotency.key],
  });
  const found = firstRow(keyed, KeyedRun);
  if (found === null) return null;
  const { requestDigest, ...existing } = found;
  return requestDigest === request.idempotency.digest
    ? { outcome: "existing", run: existing }
    : { outcome: "idempotency_conflict", runId: existing.id };
}

async function whoHasIt(q: Queryable, run: NewRun): Promise<InsertRunResult | null> {
  const keyed = await findKeyedRun(q, run);
  if (keyed !== null) return keyed;
  if (run.kind !== "restore") return null;
  const live = await q.query({
    text: "SELECT id FROM runs WHERE tenant_id = $1 AND kind = 'restore' AND status IN ('awaiting_approval', 'queued', 'running')",
    values: [run.tenantId],
  });
  const holder = firstRow(live, z.object({ id: z.uuid() }));
  return holder === null ? null : { outcome: "restore_in_progress", runId: holder.id };
}
