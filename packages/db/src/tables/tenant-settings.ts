import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { firstRow, Int8 } from "../rows.ts";

export const TenantSettings = z.object({
  /** Null: no quota. */
  storageQuotaBytes: Int8.nullable(),
  /** By one user. */
  backupsPerHour: z.int(),
  /** How long a deleted backup can be undeleted. */
  deletedBackupGraceHours: z.int(),
});
export type TenantSettings = z.infer<typeof TenantSettings>;

/** What a tenant without a row has; the table's column defaults say the same, and a test compares. */
export const DEFAULT_TENANT_SETTINGS: TenantSettings = {
  storageQuotaBytes: null,
  backupsPerHour: 10,
  deletedBackupGraceHours: 168,
};

const COLUMNS = `storage_quota_bytes AS "storageQuotaBytes", backups_per_hour AS "backupsPerHour",
  deleted_backup_grace_hours AS "deletedBackupGraceHours"`;

/** The tenant's settings; the defaults where nothing was set. */
export async function getTenantSettings(q: Queryable, tenantId: string): Promise<TenantSettings> {
  const result = await q.query({
    name: "get_tenant_settings",
    text: `SELECT ${COLUMNS} FROM tenant_settings WHERE tenant_id = $1`,
    values: [tenantId],
  });
  return firstRow(result, TenantSettings) ?? DEFAULT_TENANT_SETTINGS;
}

export type TenantSettingsChange = { readonly [K in keyof TenantSettings]?: TenantSettings[K] | undefined };

/** Changes what is given and returns all. System only: a tenant must not raise its own quota. */
export async function updateTenantSettings(
  q: Queryable,
  tenantId: string,
  change: TenantSettingsChange,
): Promise<TenantSettings> {
  const result = await q.query({
    text: `INSERT INTO tenant_settings AS s (tenant_id, storage_quota_bytes, backups_per_hour, deleted_backup_grace_hours)
VALUES ($1, $3, coalesce($4::int, $6), coalesce($5::int, $7))
ON CONFLICT (tenant_id) DO UPDATE SET
  storage_quota_bytes = CASE WHEN $2 THEN $3 ELSE s.storage_quota_bytes END,
  backups_per_hour = coalesce($4, s.backups_per_hour),
  deleted_backup_grace_hours = coalesce($5, s.deleted_backup_grace_hours), updated_at = now()
RETURNING ${COLUMNS}`,
    values: [
      tenantId,
      change.storageQuotaBytes !== undefined,
      change.storageQuotaBytes ?? null,
      change.backupsPerHour ?? null,
      change.deletedBackupGraceHours ?? null,
      DEFAULT_TENANT_SETTINGS.backupsPerHour,
      DEFAULT_TENANT_SETTINGS.deletedBackupGraceHours,
    ],
  });
  return firstRow(result, TenantSettings) ?? DEFAULT_TENANT_SETTINGS;
}
