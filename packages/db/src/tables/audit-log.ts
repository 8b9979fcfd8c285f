import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { allRows, Int8, Json, jsonb } from "../rows.ts";

export interface NewAuditEntry {
  /** Who. */
  readonly userId: string;
  /** What, as `<thing>.<verb>`: `backup.create`. */
  readonly action: string;
  readonly tenantId?: string | null;
  readonly sourceId?: string | null;
  readonly runId?: string | null;
  /** From where. */
  readonly ip?: string | null;
  /** The thing before and after; never a secret. */
  readonly before?: unknown;
  readonly after?: unknown;
}

/** Appends an entry; in the transaction of the deed itself, so that neither is there without the other. */
export async function insertAuditEntry(q: Queryable, entry: NewAuditEntry): Promise<void> {
  await q.query({
    name: "insert_audit_entry",
    text: `INSERT INTO audit_log (user_id, action, tenant_id, source_id, run_id, ip, before, after) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
    values: [
      entry.userId,
      entry.action,
      entry.tenantId ?? null,
      entry.sourceId ?? null,
      entry.runId ?? null,
      entry.ip ?? null,
      jsonb(entry.before),
      jsonb(entry.after),
    ],
  });
}

export const AuditEntry = z.object({
  id: Int8,
  at: z.date(),
  userId: z.string(),
  action: z.string(),
  tenantId: z.uuid().nullable(),
  sourceId: z.uuid().nullable(),
  runId: z.uuid().nullable(),
  ip: z.string().nullable(),
  before: Json.nullable(),
  after: Json.nullable(),
});
export type AuditEntry = z.infer<typeof AuditEntry>;

/** A tenant's entries (null: those of no tenant), newest first, older than the entry `before`. */
export async function listAuditEntries(
  q: Queryable,
  asked: { readonly tenantId: string | null; readonly before?: number; readonly limit: number },
): Promise<AuditEntry[]> {
  const result = await q.query({
    text: `SELECT id, at, user_id AS "userId", action, tenant_id AS "tenantId", source_id AS "sourceId", run_id AS "runId",
  host(ip) AS ip, before, after FROM audit_log
WHERE ${asked.tenantId === null ? "tenant_id IS NULL AND $1::uuid IS NULL" : "tenant_id = $1"} AND id < $2 ORDER BY id DESC LIMIT $3`,
    values: [asked.tenantId, asked.before ?? Number.MAX_SAFE_INTEGER, asked.limit],
  });
  return allRows(result, AuditEntry);
}
