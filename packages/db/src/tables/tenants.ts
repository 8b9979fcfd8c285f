import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { cursorAt, type Page, type PageRequest, pageOf, readPage } from "../page.ts";
import { firstRow } from "../rows.ts";

export const Tenant = z.object({
  id: z.uuid(),
  sourceId: z.uuid(),
  /** The value that scopes the tenant's rows in the source. */
  key: z.string(),
  name: z.string(),
  createdAt: z.date(),
  /** Set for good: nothing of the tenant is stored any more, nor will be. */
  erasedAt: z.date().nullable(),
});
export type Tenant = z.infer<typeof Tenant>;

const COLUMNS = `t.id, t.source_id AS "sourceId", t.key, t.name, t.created_at AS "createdAt", t.erased_at AS "erasedAt"`;

export interface NewTenant {
  readonly id?: string;
  readonly sourceId: string;
  readonly key: string;
  readonly name: string;
}

/** Registers a tenant; null when the source has one of that key already. System only. */
export async function insertTenant(q: Queryable, tenant: NewTenant): Promise<Tenant | null> {
  const result = await q.query({
    text: `INSERT INTO tenants AS t (id, source_id, key, name) VALUES ($1, $2, $3, $4)
ON CONFLICT (source_id, key) DO NOTHING RETURNING ${COLUMNS}`,
    values: [tenant.id ?? randomUUID(), tenant.sourceId, tenant.key, tenant.name],
  });
  return firstRow(result, Tenant);
}

/** The tenant, or null. Under a TenantClient only the tenant itself is there. */
export async function getTenant(q: Queryable, tenantId: string): Promise<Tenant | null> {
  return firstRow(
    await q.query({ name: "get_tenant", text: `SELECT ${COLUMNS} FROM tenants t WHERE t.id = $1`, values: [tenantId] }),
    Tenant,
  );
}

/** The tenant of that key in a source, or null. */
export async function getTenantByKey(q: Queryable, sourceId: string, key: string): Promise<Tenant | null> {
  const result = await q.query({
    text: `SELECT ${COLUMNS} FROM tenants t WHERE t.source_id = $1 AND t.key = $2`,
    values: [sourceId, key],
  });
  return firstRow(result, Tenant);
}

/** Tenants, newest first; of one source, where given. Throws InvalidCursorError. */
export async function listTenants(
  q: Queryable,
  filter: { readonly sourceId?: string | undefined },
  page: PageRequest,
): Promise<Page<Tenant>> {
  const { limit, after } = readPage(page);
  const result = await q.query({
    text: `SELECT ${COLUMNS}, ${cursorAt("t.created_at")} FROM tenants t
WHERE ($1::uuid IS NULL OR t.source_id = $1) AND ($2::timestamptz IS NULL OR (t.created_at, t.id) < ($2, $3::uuid))
ORDER BY t.created_at DESC, t.id DESC LIMIT $4`,
    values: [filter.sourceId ?? null, after?.at ?? null, after?.id ?? null, limit + 1],
  });
  return pageOf(result, limit, Tenant);
}
