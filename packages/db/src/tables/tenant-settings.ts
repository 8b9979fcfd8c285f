import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { firstRow, Int8 } from "../rows.ts";
import type { TenantClient } from "../tenant-context.ts";

export const TenantSettings = z.object({
  /** Null: no quota. */
  storageQuotaBytes: Int8.nullable(),
  /** By one user. */
  backupsPerHour: z.int(),
  /** How long a deleted backup can be undeleted. */
  deletedBackupGraceHours: z.int(),
  /** Whether a second person must agree to each restore. */
  restoresNeedApproval: z.boolean(),
  /** How long a restore waits for that. */
  restoreApprovalHours: z.int(),
});
export type TenantSettings = z.infer<typeof TenantSettings>;

/** What a tenant without a row has; the table's column defaults say the same, and a test compares. */
export const DEFAULT_TENANT_SETTINGS: TenantSettings = {
  storageQuotaBytes: null,
  backupsPerHour: 10,
  deletedBackupGraceHours: 168,
  restoresNeedApproval: false,
  restoreApprovalHours: 24,
};

const COLUMNS = `storage_quota_bytes AS "storageQuotaBytes", backups_per_hour AS "backupsPerHour",
  deleted_backup_grace_hours AS "deletedBackupGraceHours", restores_need_approval AS "restoresNeedApproval",
  restore_approval_hours AS "restoreApprovalHours"`;

/** The tenant's settings; the defaults where nothing was set. */
export async function getTenantSettings(q: Queryable, tenantId: string): Promise<TenantSettings> {
  const result = await q.query({
    name: "get_tenant_settings",
    text: `SELECT ${COLUMNS} FROM tenant_settings WHERE tenant_id = $1`,
    values: [tenantId],
  });
  return firstRow(result, TenantSettings) ?? DEFAULT_TENANT_SETTINGS;
}

/** Quotas and limits: an operator's to set. */
export type TenantSettingsChange = {
  readonly [K in Exclude<keyof TenantSettings, keyof TenantRulesChange>]?: TenantSettings[K] | undefined;
};

/** The tenant's own rules. */
export interface TenantRulesChange {
  readonly restoresNeedApproval?: boolean | undefined;
  /** 1 … 720 */
  readonly restoreApprovalHours?: number | undefined;
}

/** Changes the tenant's own rules and returns all settings. */
export async function updateTenantRules(client: TenantClient, change: TenantRulesChange): Promise<TenantSettings> {
  const result = await client.query({
    text: `INSERT INTO tenant_settings AS s (tenant_id, restores_need_approval, restore_approval_hours)
VALUES ($1, coalesce($2::boolean, $4), coalesce($3::int, $5))
ON CONFLICT (tenant_id) DO UPDATE SET restores_need_approval = coalesce($2, s.restores_need_approval),
  restore_approval_hours = coalesce($3, s.restore_approval_hours), updated_at = now()
RETURNING ${COLUMNS}`,
    values: [
      client.tenantId,
      change.restoresNeedApproval ?? null,
      change.restoreApprovalHours ?? null,
      DEFAULT_TENANT_SETTINGS.restoresNeedApproval,
      DEFAULT_TENANT_SETTINGS.restoreApprovalHours,
    ],
  });
  return TenantSettings.parse(result.rows[0]);
}

/** Changes quotas and limits and returns all settings. System only: a tenant must not raise its own quota. */
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
