import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { Lsn, Micros, microsOf } from "../log-position.ts";
import { allRows, firstRow } from "../rows.ts";

/** A whole backup of a tenant that the change log can be folded into. */
export const MomentBase = z.object({
  backupId: z.uuid(),
  /** `pg_current_snapshot()` */
  pgSnapshot: z.string(),
  /** A WAL position read after the snapshot. */
  endLsn: Lsn,
  /** By the source's clock, read after the snapshot; microseconds since 1970, at most a millisecond early. */
  at: Micros,
  manifestSha256: z.string(),
});
export type MomentBase = z.infer<typeof MomentBase>;

/** More than this are not looked at, newest first: some three years of daily full backups. */
const MOST = 1_000;

const SELECT = `SELECT b.run_id AS "backupId", b.snapshot AS "pgSnapshot", b.snapshot_end_lsn AS "endLsn", ${microsOf("b.snapshot_at")} AS at,
  b.manifest_sha256 AS "manifestSha256"
FROM backup_jobs b JOIN runs r ON r.id = b.run_id
WHERE b.tenant_id = $1 AND b.tables IS NULL AND b.purpose <> 'pre_restore' AND b.snapshot IS NOT NULL
  AND b.snapshot_end_lsn IS NOT NULL AND b.deleted_at IS NULL AND r.status = 'succeeded'`;

/** The full backups of a tenant's own source that hold every table and are there, oldest first. */
export async function listMomentBases(
  q: Queryable,
  of: { readonly tenantId: string; readonly sourceId: string },
): Promise<MomentBase[]> {
  const result = await q.query({
    text: `${SELECT} AND b.source_id = $2 AND b.type = 'full' ORDER BY b.snapshot_at DESC LIMIT ${MOST}`,
    values: [of.tenantId, of.sourceId],
  });
  return allRows(result, MomentBase).toReversed();
}

/** The backup, if it is one that changes can be folded into; else null. */
export async function getMomentBase(
  q: Queryable,
  of: { readonly tenantId: string; readonly backupId: string },
): Promise<MomentBase | null> {
  const result = await q.query({
    text: `${SELECT} AND b.run_id = $2 AND b.type = 'full'`,
    values: [of.tenantId, of.backupId],
  });
  return firstRow(result, MomentBase);
}

/** The newest backup of all tables, full or incremental, that another one can be made on; null: there is none. */
export async function newestParent(
  q: Queryable,
  of: { readonly tenantId: string; readonly sourceId: string },
): Promise<string | null> {
  const result = await q.query({
    text: `${SELECT} AND b.source_id = $2 ORDER BY b.snapshot_at DESC, r.created_at DESC LIMIT 1`,
    values: [of.tenantId, of.sourceId],
  });
  return firstRow(result, MomentBase)?.backupId ?? null;
}
