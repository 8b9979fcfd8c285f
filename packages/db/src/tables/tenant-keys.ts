import { z } from "zod";
import { COMMAND_LINE_USER, type CommandLineAuthor } from "../command-line.ts";
import type { Queryable } from "../control-database.ts";
import { allRows, firstRow, Int8, jsonb } from "../rows.ts";
import { WORKER_USER } from "./audit-log.ts";

/** Whose data a key seals: a tenant's, or what of a source can't be told to be any one tenant's. */
export type TenantKeyOwner = { readonly tenantId: string } | { readonly sourceId: string };

const Timestamps = { createdAt: z.date(), rewrappedAt: z.date().nullable() };

/** A data key: wrapped by a master key, or destroyed. */
export const TenantKey = z.object({
  id: z.uuid(),
  tenantId: z.uuid().nullable(),
  sourceId: z.uuid().nullable(),
  wrapped: z.instanceof(Buffer).nullable(),
  masterKeyId: z.string().nullable(),
  destroyedAt: z.date().nullable(),
  ...Timestamps,
});
export type TenantKey = z.infer<typeof TenantKey>;

const COLUMNS = `k.id, k.tenant_id AS "tenantId", k.source_id AS "sourceId", k.wrapped, k.master_key_id AS "masterKeyId",
  k.created_at AS "createdAt", k.rewrapped_at AS "rewrappedAt", k.destroyed_at AS "destroyedAt"`;

/** The owner's key, destroyed or not; null when it never had one. System only, as all of this table. */
export async function getTenantKey(q: Queryable, owner: TenantKeyOwner): Promise<TenantKey | null> {
  const { column, id } = ownerColumn(owner);
  const result = await q.query({
    name: `get_tenant_key_of_${column}`,
    text: `SELECT ${COLUMNS} FROM tenant_keys k WHERE k.${column} = $1`,
    values: [id],
  });
  return firstRow(result, TenantKey);
}

/**
 * Keeps a new key, unless the owner has one already, be it destroyed: then this changes nothing. What makes a key is a worker by itself, and the
 * owner's audit log tells of it.
 * @param worker its name
 */
export async function insertTenantKey(
  q: Queryable,
  key: {
    readonly id: string;
    readonly owner: TenantKeyOwner;
    readonly wrapped: Uint8Array;
    readonly masterKeyId: string;
  },
  worker: string,
): Promise<void> {
  const { column, id } = ownerColumn(key.owner);
  await q.query({
    text: `WITH made AS (
  INSERT INTO tenant_keys (id, ${column}, wrapped, master_key_id) VALUES ($1, $2, $3, $4) ON CONFLICT (${column}) DO NOTHING
  RETURNING id, tenant_id, source_id, master_key_id)
INSERT INTO audit_log (user_id, action, tenant_id, source_id, after)
SELECT $5::text, 'data-key.create', tenant_id, source_id, jsonb_build_object('keyId', id, 'masterKeyId', master_key_id, 'worker', $6::text) FROM made`,
    values: [key.id, id, Buffer.from(key.wrapped), key.masterKeyId, WORKER_USER, worker],
  });
}

/** Keys that another than this master key wraps, in the order of their ids, after the given one. */
export async function listKeysToRewrap(
  q: Queryable,
  asked: { readonly masterKeyId: string; readonly after: string | null; readonly limit: number },
): Promise<TenantKey[]> {
  const result = await q.query({
    text: `SELECT ${COLUMNS} FROM tenant_keys k
WHERE k.destroyed_at IS NULL AND k.master_key_id <> $1 AND ($2::uuid IS NULL OR k.id > $2) ORDER BY k.id LIMIT $3`,
    values: [asked.masterKeyId, asked.after, asked.limit],
  });
  return allRows(result, TenantKey);
}

/** Replaces what wraps a key, and tells its owner's audit log. False: it was rewrapped or destroyed meanwhile, and nothing was changed. */
export async function rewrapTenantKey(
  q: Queryable,
  key: {
    readonly id: string;
    readonly wrapped: Uint8Array;
    readonly masterKeyId: string;
    readonly fromMasterKeyId: string;
  },
  by: CommandLineAuthor,
): Promise<boolean> {
  const result = await q.query({
    text: `WITH rewrapped AS (
  UPDATE tenant_keys SET wrapped = $2, master_key_id = $3, rewrapped_at = now()
  WHERE id = $1 AND master_key_id = $4 AND destroyed_at IS NULL RETURNING id, tenant_id, source_id)
INSERT INTO audit_log (user_id, action, tenant_id, source_id, ip, before, after)
SELECT $5::text, 'data-key.rewrap', tenant_id, source_id, inet_client_addr(), $6::jsonb, $7::jsonb FROM rewrapped`,
    values: [
      key.id,
      Buffer.from(key.wrapped),
      key.masterKeyId,
      key.fromMasterKeyId,
      COMMAND_LINE_USER,
      jsonb({ keyId: key.id, masterKeyId: key.fromMasterKeyId }),
      jsonb({ keyId: key.id, masterKeyId: key.masterKeyId, ...by }),
    ],
  });
  return result.rowCount === 1;
}

/** Notes, among what is no tenant's, that a rotation came to its end; each key that it rewrapped is in its owner's log. */
export async function noteRotation(
  q: Queryable,
  rotation: { readonly masterKeyId: string; readonly rewrapped: number; readonly failed: number },
  by: CommandLineAuthor,
): Promise<void> {
  await q.query({
    text: `INSERT INTO audit_log (user_id, action, ip, after) VALUES ($1, 'keys.rotate', inet_client_addr(), $2)`,
    values: [COMMAND_LINE_USER, jsonb({ ...rotation, ...by })],
  });
}

const MasterKeyUse = z.object({ masterKeyId: z.string(), keys: Int8 });

/** How many data keys each master key wraps. */
export async function countKeysByMasterKey(q: Queryable): Promise<z.infer<typeof MasterKeyUse>[]> {
  const result = await q.query({
    text: `SELECT master_key_id AS "masterKeyId", count(*) AS keys FROM tenant_keys WHERE destroyed_at IS NULL GROUP BY 1 ORDER BY 1`,
  });
  return allRows(result, MasterKeyUse);
}

/**
 * Destroys a tenant's key for good; one that never was is destroyed too, so that none is ever made. Again: changes nothing.
 * @param keyId the id of the row where the tenant had no key
 */
export async function destroyTenantKey(q: Queryable, tenantId: string, keyId: string): Promise<void> {
  await q.query({
    text: `INSERT INTO tenant_keys AS k (id, tenant_id, destroyed_at) VALUES ($2, $1, now())
ON CONFLICT (tenant_id) DO UPDATE SET wrapped = NULL, master_key_id = NULL, destroyed_at = now() WHERE k.destroyed_at IS NULL`,
    values: [tenantId, keyId],
  });
}

function ownerColumn(owner: TenantKeyOwner): { column: "tenant_id" | "source_id"; id: string } {
  return "tenantId" in owner
    ? { column: "tenant_id", id: owner.tenantId }
    : { column: "source_id", id: owner.sourceId };
}
