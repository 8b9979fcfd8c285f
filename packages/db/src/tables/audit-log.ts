import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { cursorAt, type Page, type PageRequest, pageOf, readPage } from "../page.ts";
import { Int8, Json, jsonb } from "../rows.ts";

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

/** Who did what nobody asked for: a worker by itself. */
export const WORKER_USER = "rowback:worker";

/**
 * SQL that appends the entry of a run's good end, in the statement that ends it: its rows are those of `run` (see SUCCEED_RUN). By then the request that
 * asked for it is long over: who is who asked, from where is the worker.
 * @param after SQL of jsonb
 */
export function finishEntry(action: string, after: string): string {
  return `INSERT INTO audit_log (user_id, action, tenant_id, source_id, run_id, before, after)
  SELECT run.requested_by, '${action}', run.tenant_id, run.source_id, run.id, jsonb_build_object('status', 'running'),
    jsonb_build_object('status', 'succeeded', 'worker', run.worker) || ${after}
  FROM run`;
}

export const AuditEntry = z.object({
  /** 1, 2, 3 … within its chain: a tenant's entries, or those of no tenant. */
  seq: Int8,
  at: z.date(),
  userId: z.string(),
  action: z.string(),
  tenantId: z.uuid().nullable(),
  sourceId: z.uuid().nullable(),
  runId: z.uuid().nullable(),
  ip: z.string().nullable(),
  before: Json.nullable(),
  after: Json.nullable(),
  /** SHA-256 over the entry and the hash before it, hexadecimal. */
  hash: z.string(),
});
export type AuditEntry = z.infer<typeof AuditEntry>;

export interface AuditFilter {
  readonly userId?: string | undefined;
  readonly action?: string | undefined;
  readonly runId?: string | undefined;
  /** At or after. */
  readonly from?: Date | undefined;
  /** Before. */
  readonly to?: Date | undefined;
}

const Seq = z.string().regex(/^[1-9]\d{0,17}$/);

/** A tenant's entries (null: those of no tenant), newest first. Throws InvalidCursorError. */
export async function listAuditEntries(
  q: Queryable,
  tenantId: string | null,
  filter: AuditFilter = {},
  page: PageRequest = {},
): Promise<Page<AuditEntry>> {
  const { limit, after } = readPage(page, Seq);
  const result = await q.query({
    text: `SELECT seq::text AS id, seq, at, user_id AS "userId", action, tenant_id AS "tenantId", source_id AS "sourceId",
  run_id AS "runId", host(ip) AS ip, before, after, encode(hash, 'hex') AS hash, ${cursorAt("at")}
FROM audit_log
WHERE ${tenantId === null ? "tenant_id IS NULL AND $1::uuid IS NULL" : "tenant_id = $1"}
  AND ($2::text IS NULL OR user_id = $2) AND ($3::text IS NULL OR action = $3) AND ($4::uuid IS NULL OR run_id = $4)
  AND at >= coalesce($5, '-infinity'::timestamptz) AND at < coalesce($6, 'infinity'::timestamptz)
  AND (at, seq) < (coalesce($7, 'infinity'::timestamptz), coalesce($8, 0::bigint))
ORDER BY at DESC, seq DESC LIMIT $9`,
    values: [
      tenantId,
      filter.userId ?? null,
      filter.action ?? null,
      filter.runId ?? null,
      filter.from ?? null,
      filter.to ?? null,
      after?.at ?? null,
      after?.id ?? null,
      limit + 1,
    ],
  });
  return pageOf(result, limit, AuditEntry);
}
