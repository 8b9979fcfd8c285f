import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { allRows, jsonb } from "../rows.ts";

const BREAKER_STATES = ["closed", "half_open", "open"] as const;

/** What a worker says of one thing that runs need: `store`, `source:<id>`. */
export const ReportedBreaker = z.object({ dependency: z.string(), state: z.enum(BREAKER_STATES) });
export type ReportedBreaker = z.infer<typeof ReportedBreaker>;

const Report = z.object({ worker: z.string(), breakers: z.array(ReportedBreaker) });
export type BreakerReport = z.infer<typeof Report>;

/** Says what a worker knows of its breakers, for `ttlMs` milliseconds; and takes away what workers said that are long dead. System only. */
export async function reportBreakers(q: Queryable, report: BreakerReport & { readonly ttlMs: number }): Promise<void> {
  await q.query({
    name: "report_breakers",
    text: `WITH dead AS (DELETE FROM worker_breakers WHERE expires_at < now() AND worker <> $1)
INSERT INTO worker_breakers AS w (worker, breakers, expires_at) VALUES ($1, $2, now() + $3 * interval '1 millisecond')
ON CONFLICT (worker) DO UPDATE SET breakers = EXCLUDED.breakers, expires_at = EXCLUDED.expires_at`,
    values: [report.worker, jsonb(report.breakers), report.ttlMs],
  });
}

/** A worker that ends has no more to say. */
export async function withdrawBreakers(q: Queryable, worker: string): Promise<void> {
  await q.query({ text: "DELETE FROM worker_breakers WHERE worker = $1", values: [worker] });
}

/** What the workers say that are alive. System only. */
export async function listBreakerReports(q: Queryable): Promise<BreakerReport[]> {
  const result = await q.query({
    name: "list_breaker_reports",
    text: "SELECT w.worker, w.breakers FROM worker_breakers w WHERE w.expires_at >= now() ORDER BY w.worker",
  });
  return allRows(result, Report);
}
