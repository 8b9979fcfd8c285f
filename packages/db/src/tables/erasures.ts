import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { firstRow, Int8, Json, jsonb } from "../rows.ts";
import type { SystemClient } from "../tenant-context.ts";
import { RUN_COLUMNS, Run } from "./run-row.ts";

/** That a tenant was erased, and how far the purge of its objects is. */
export const Erasure = z.object({
  tenantId: z.uuid(),
  runId: z.uuid(),
  /** recovery's ErasureCertificate. */
  certificate: Json,
  purgedAt: z.date().nullable(),
});
export type Erasure = z.infer<typeof Erasure>;

/** The tenant's erasure, or null. System only, as all of this table. */
export async function getErasure(q: Queryable, tenantId: string): Promise<Erasure | null> {
  const result = await q.query({
    text: `SELECT e.tenant_id AS "tenantId", e.run_id AS "runId", e.certificate, e.purged_at AS "purgedAt" FROM erasures e WHERE e.tenant_id = $1`,
    values: [tenantId],
  });
  return firstRow(result, Erasure);
}

/** The newest run that was to purge the tenant's objects, or null. */
export async function lastPurge(q: Queryable, tenantId: string): Promise<Run | null> {
  const result = await q.query({
    text: `SELECT ${RUN_COLUMNS} FROM runs r WHERE r.tenant_id = $1 AND r.kind = 'tenant_erase' ORDER BY r.created_at DESC, r.id DESC LIMIT 1`,
    values: [tenantId],
  });
  return firstRow(result, Run);
}

/** Marks the tenant as erased. Null: it is unknown, or was erased before. Whoever asks at the same time waits for this transaction. */
export async function markTenantErased(client: SystemClient, tenantId: string): Promise<Date | null> {
  const result = await client.query({
    text: `UPDATE tenants SET erased_at = now() WHERE id = $1 AND erased_at IS NULL RETURNING erased_at AS "erasedAt"`,
    values: [tenantId],
  });
  return firstRow(result, z.object({ erasedAt: z.date() }))?.erasedAt ?? null;
}

const StoredBackups = z.object({ encrypted: Int8, inClear: Int8, storedBytes: Int8 });

/** What the tenant has in the store, as far as its backups succeeded. */
export async function countStoredBackups(q: Queryable, tenantId: string): Promise<z.infer<typeof StoredBackups>> {
  const result = await q.query({
    text: `SELECT count(key_id) AS encrypted, count(*) - count(key_id) AS "inClear", coalesce(sum(stored_bytes), 0) AS "storedBytes"
FROM backup_jobs WHERE tenant_id = $1 AND purged_at IS NULL AND stored_bytes IS NOT NULL`,
    values: [tenantId],
  });
  return firstRow(result, StoredBackups) ?? { encrypted: 0, inClear: 0, storedBytes: 0 };
}

/** Ends what the tenant has under way, puts its backups past undeleting, and keeps the certificate. After `markTenantErased`. */
export async function insertErasure(
  client: SystemClient,
  erasure: { readonly tenantId: string; readonly runId: string; readonly certificate: unknown },
): Promise<void> {
  const { tenantId, runId, certificate } = erasure;
  await client.query({
    text: `UPDATE runs SET cancel_requested_at = coalesce(cancel_requested_at, now()), updated_at = now(),
  status = CASE status WHEN 'running' THEN status ELSE 'cancelled' END, finished_at = CASE WHEN status <> 'running' THEN now() END
WHERE tenant_id = $1 AND id <> $2 AND status IN ('awaiting_approval', 'queued', 'running')`,
    values: [tenantId, runId],
  });
  await client.query({
    text: `UPDATE backup_jobs SET deleted_at = coalesce(deleted_at, now()), purge_started_at = coalesce(purge_started_at, now())
WHERE tenant_id = $1 AND purge_started_at IS NULL`,
    values: [tenantId],
  });
  await client.query({
    text: "INSERT INTO erasures (tenant_id, run_id, certificate) VALUES ($1, $2, $3)",
    values: [tenantId, runId, jsonb(certificate)],
  });
}

/** Whether another run of the tenant is queued or running: it may still write. */
export async function hasLiveRuns(q: Queryable, tenantId: string, exceptRunId: string): Promise<boolean> {
  const result = await q.query({
    text: "SELECT FROM runs WHERE tenant_id = $1 AND id <> $2 AND status IN ('queued', 'running') LIMIT 1",
    values: [tenantId, exceptRunId],
  });
  return result.rowCount !== 0;
}

/**
 * No object of the tenant is left: its backups are purged, and the values of rows that previews and restores had kept here (samples, chosen
 * keys) are taken out. What remains says who did what and when, and how many rows, never what was in them.
 * @returns whether it was the first to say so
 */
export async function finishErasure(client: SystemClient, tenantId: string): Promise<boolean> {
  await client.query({ text: "SELECT set_config('rowback.erasing', $1, true)", values: [tenantId] });
  await client.query({
    text: `UPDATE runs SET params = CASE WHEN params ? 'keys' THEN jsonb_set(params, '{keys}', 'null') ELSE params END,
  result = CASE WHEN kind = 'restore_preview' THEN NULL ELSE result END
WHERE tenant_id = $1 AND kind IN ('restore_preview', 'restore') AND status NOT IN ('queued', 'running')`,
    values: [tenantId],
  });
  await client.query({ text: "UPDATE restore_jobs SET keys = NULL WHERE tenant_id = $1", values: [tenantId] });
  await client.query({
    text: "UPDATE backup_jobs SET purged_at = coalesce(purged_at, now()), table_stats = NULL WHERE tenant_id = $1 AND purge_started_at IS NOT NULL",
    values: [tenantId],
  });
  const first = await client.query({
    text: "UPDATE erasures SET purged_at = now() WHERE tenant_id = $1 AND purged_at IS NULL",
    values: [tenantId],
  });
  return first.rowCount === 1;
}
