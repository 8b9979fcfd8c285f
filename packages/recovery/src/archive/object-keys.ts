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

/**
 * Each attempt to write a backup has parts of its own names: one that lost its lease may still be sending when its successor sends, and
 * neither can then take or spoil the other's.
 * @param writer the manifest's; none for backups that were written before there was one
 */
export function partKey(id: BackupId, part: number, writer: string | undefined): string {
  return `${backupPrefix(id)}part-${part}${writer === undefined ? "" : `-${writer}`}`;
}

const UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
const KEY = new RegExp(
  `^tenants/(?<tenantId>${UUID})/backups/(?<backupId>${UUID})/(?<object>manifest\\.json|part-\\d+(?:-(?<writer>[0-9a-f]{32}))?)$`,
);

/** What an object's key tells. */
export interface BackupObject extends BackupId {
  readonly isManifest: boolean;
  /** Of a part: which attempt wrote it; undefined for one from before attempts had names. */
  readonly writer: string | undefined;
}

/** The backup an object belongs to, or null for a key that is no backup's: such objects are nobody's to delete. */
export function parseObjectKey(key: string): BackupObject | null {
  const { tenantId, backupId, object, writer } = KEY.exec(key)?.groups ?? {};
  if (tenantId === undefined || backupId === undefined || object === undefined) return null;
  return { tenantId, backupId, isManifest: object === "manifest.json", writer };
}
