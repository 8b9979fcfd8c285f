/** Where a backup's objects are (docs/FORMAT.md, "Objects"). The ids are UUIDs, checked at the API's border. */
export interface BackupId {
  readonly tenantId: string;
  readonly backupId: string;
}

/** The folder-like prefix of all tenants; everything under it is Rowback's. */
export const TENANTS_PREFIX = "tenants/";

/** All objects of one tenant start with this. */
export function tenantPrefix(tenantId: string): string {
  return `${TENANTS_PREFIX}${tenantId}/`;
}

/** All objects of one backup, manifest included, start with this. */
export function backupPrefix(id: BackupId): string {
  return `${tenantPrefix(id.tenantId)}backups/${id.backupId}/`;
}

export function manifestKey(id: BackupId): string {
  return `${backupPrefix(id)}manifest.json`;
}

export function partKey(id: BackupId, part: number): string {
  return `${backupPrefix(id)}part-${part}`;
}

const UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
const KEY = new RegExp(
  `^tenants/(?<tenantId>${UUID})/backups/(?<backupId>${UUID})/(?<object>manifest\\.json|part-\\d+)$`,
);

/** The backup an object belongs to, or null for a key that is no backup's: such objects are nobody's to delete. */
export function parseObjectKey(key: string): (BackupId & { readonly isManifest: boolean }) | null {
  const groups = KEY.exec(key)?.groups;
  const { tenantId, backupId, object } = groups ?? {};
  if (tenantId === undefined || backupId === undefined || object === undefined) return null;
  return { tenantId, backupId, isManifest: object === "manifest.json" };
}
