import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { cursorAt, type Page, type PageRequest, pageOf, readPage } from "../page.ts";
import { firstRow } from "../rows.ts";
import type { TenantClient } from "../tenant-context.ts";
import { MEMBER_ROLES } from "./members.ts";

/** A key as its tenant sees it; nobody sees more. */
export const ApiKey = z.object({
  id: z.uuid(),
  tenantId: z.uuid(),
  name: z.string(),
  /** 16 hexadecimal digits: the part of the key that is no secret. */
  prefix: z.string(),
  /** Permissions. */
  scopes: z.array(z.string()),
  createdBy: z.string(),
  createdAt: z.date(),
  expiresAt: z.date(),
  revokedAt: z.date().nullable(),
  revokedBy: z.string().nullable(),
  /** To ten minutes. */
  lastUsedAt: z.date().nullable(),
});
export type ApiKey = z.infer<typeof ApiKey>;

const COLUMNS = `k.id, k.tenant_id AS "tenantId", k.name, k.prefix, k.scopes, k.created_by AS "createdBy",
  k.created_at AS "createdAt", k.expires_at AS "expiresAt", k.revoked_at AS "revokedAt", k.revoked_by AS "revokedBy",
  k.last_used_at AS "lastUsedAt"`;

export interface NewApiKey {
  readonly name: string;
  readonly prefix: string;
  /** SHA-256 of the secret, 32 bytes. */
  readonly secretSha256: Buffer;
  readonly scopes: readonly string[];
  readonly createdBy: string;
  readonly expiresAt: Date;
}

/** Keeps a new key of the tenant. */
export async function insertApiKey(client: TenantClient, key: NewApiKey): Promise<ApiKey> {
  const result = await client.query({
    text: `INSERT INTO api_keys AS k (id, tenant_id, name, prefix, secret_sha256, scopes, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING ${COLUMNS}`,
    values: [
      randomUUID(),
      client.tenantId,
      key.name,
      key.prefix,
      key.secretSha256,
      key.scopes,
      key.createdBy,
      key.expiresAt,
    ],
  });
  return ApiKey.parse(result.rows[0]);
}

/** The tenant's key, or null. */
export async function getApiKey(client: TenantClient, id: string): Promise<ApiKey | null> {
  const result = await client.query({ text: `SELECT ${COLUMNS} FROM api_keys k WHERE k.id = $1`, values: [id] });
  return firstRow(result, ApiKey);
}

export interface ApiKeyFilter {
  readonly createdBy?: string | undefined;
  /** Those that are expired or revoked as well. */
  readonly includeEnded: boolean;
}

/** The tenant's keys, newest first. Throws InvalidCursorError. */
export async function listApiKeys(
  client: TenantClient,
  filter: ApiKeyFilter,
  page: PageRequest,
): Promise<Page<ApiKey>> {
  const { limit, after } = readPage(page);
  const result = await client.query({
    text: `SELECT ${COLUMNS}, ${cursorAt("k.created_at")} FROM api_keys k
WHERE k.tenant_id = $1 AND ($2::text IS NULL OR k.created_by = $2)
  AND ($3 OR k.revoked_at IS NULL AND k.expires_at > now())
  AND ($4::timestamptz IS NULL OR (k.created_at, k.id) < ($4, $5::uuid))
ORDER BY k.created_at DESC, k.id DESC LIMIT $6`,
    values: [
      client.tenantId,
      filter.createdBy ?? null,
      filter.includeEnded,
      after?.at ?? null,
      after?.id ?? null,
      limit + 1,
    ],
  });
  return pageOf(result, limit, ApiKey);
}

/** Ends the key, from the next request on. False: there is no such key, or it was revoked before. */
export async function revokeApiKey(client: TenantClient, id: string, revokedBy: string): Promise<boolean> {
  const result = await client.query({
    text: "UPDATE api_keys SET revoked_at = now(), revoked_by = $2 WHERE id = $1 AND revoked_at IS NULL",
    values: [id, revokedBy],
  });
  return result.rowCount === 1;
}

/** A key that counts, and the member it acts as. */
const LiveApiKey = z.object({
  id: z.uuid(),
  tenantId: z.uuid(),
  secretSha256: z.instanceof(Buffer),
  scopes: z.array(z.string()),
  userId: z.string(),
  /** The member's role now, whatever it was when the key was made. */
  role: z.enum(MEMBER_ROLES),
  /** Whether `recordApiKeyUse` has anything to do. */
  isUseStale: z.boolean(),
});
export type LiveApiKey = z.infer<typeof LiveApiKey>;

// Says whether a key is in use; to the minute nobody needs it, and a write per request would make reads cost a flush.
const USE_INTERVAL = "interval '10 minutes'";

/** The key of that prefix, if it is neither revoked nor expired and its maker is a member still; else null. System only. */
export async function findLiveApiKey(q: Queryable, prefix: string): Promise<LiveApiKey | null> {
  const result = await q.query({
    name: "find_live_api_key",
    text: `SELECT k.id, k.tenant_id AS "tenantId", k.secret_sha256 AS "secretSha256", k.scopes, k.created_by AS "userId", m.role,
  k.last_used_at IS NULL OR k.last_used_at < now() - ${USE_INTERVAL} AS "isUseStale"
FROM api_keys k JOIN user_tenants m ON m.tenant_id = k.tenant_id AND m.user_id = k.created_by
WHERE k.prefix = $1 AND k.revoked_at IS NULL AND k.expires_at > now()`,
    values: [prefix],
  });
  return firstRow(result, LiveApiKey);
}

/** Notes that the key is in use. Of many requests at the same moment one writes, and none waits for it. System only. */
export async function recordApiKeyUse(q: Queryable, id: string): Promise<void> {
  await q.query({
    text: `UPDATE api_keys SET last_used_at = now() WHERE id = (
  SELECT id FROM api_keys WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - ${USE_INTERVAL}) FOR UPDATE SKIP LOCKED)`,
    values: [id],
  });
}
