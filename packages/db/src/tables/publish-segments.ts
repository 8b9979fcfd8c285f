import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { timestampOf } from "../log-position.ts";
import { allRows, jsonb } from "../rows.ts";
import type { CaptureLease } from "./capture-states.ts";
import { type NewChangeSegment, tenantHash } from "./change-segments.ts";

/** How far the log reaches: everything committed up to there is in it, or was nobody's. */
export interface Covered {
  /** 16 hexadecimal digits. */
  readonly lsn: string;
  /** Microseconds since 1970. */
  readonly at: bigint;
}

/**
 * Records durable segments and how far the log reaches now, in one statement, if the lease is still held. Never goes back.
 * A segment that is recorded already (its writer died before it heard so) stays as it is.
 * @returns false: the lease is lost, nothing was written
 */
export async function publishSegments(
  q: Queryable,
  lease: CaptureLease,
  epoch: number,
  segments: readonly NewChangeSegment[],
  covered: Covered,
  told: readonly { readonly oid: number }[] = [],
): Promise<boolean> {
  const result = await q.query({
    name: "publish_segments",
    text: `WITH held AS MATERIALIZED (
  SELECT c.source_id FROM capture_states c WHERE c.source_id = $1 AND c.lease_token = $2 AND c.status = 'on' FOR UPDATE),
added AS (${INSERT_SEGMENTS.replace("<holder>", "held")}),
remembered AS (
  INSERT INTO captured_tables (source_id, epoch, oid, seen)
  SELECT $1, $3, (one->>'oid')::bigint, one FROM held, jsonb_array_elements($7::jsonb) AS one
  ON CONFLICT (source_id, epoch, oid) DO UPDATE SET seen = EXCLUDED.seen)
UPDATE capture_epochs e SET covered_lsn = greatest(e.covered_lsn, $5::lsn_text), covered_at = greatest(e.covered_at, ${timestampOf("$6")})
FROM held WHERE e.source_id = held.source_id AND e.epoch = $3 AND e.ended_at IS NULL`,
    values: [
      lease.sourceId,
      lease.token,
      epoch,
      segmentRows(lease.sourceId, segments),
      covered.lsn,
      covered.at.toString(),
      jsonb(told),
    ],
  });
  return result.rowCount === 1;
}

/**
 * Puts a wider segment in the place of those it holds, in one statement, if the lease is still held and each of them is still there;
 * their objects are retired, not deleted.
 * @returns false: nothing was written
 */
export async function replaceSegments(
  q: Queryable,
  lease: CaptureLease,
  epoch: number,
  replaced: readonly string[],
  segment: NewChangeSegment,
): Promise<boolean> {
  const result = await q.query({
    text: `WITH held AS MATERIALIZED (
  SELECT c.source_id FROM capture_states c WHERE c.source_id = $1 AND c.lease_token = $2 AND c.status = 'on' FOR UPDATE),
present AS MATERIALIZED (
  SELECT s.object_key FROM change_segments s, held WHERE s.source_id = $1 AND s.epoch = $3 AND s.object_key = ANY ($5) FOR UPDATE OF s),
complete AS MATERIALIZED (
  SELECT held.source_id FROM held WHERE (SELECT count(*) FROM present) = cardinality($5::text[])),
gone AS (
  DELETE FROM change_segments s USING complete WHERE s.source_id = $1 AND s.epoch = $3 AND s.object_key = ANY ($5)),
retired AS (
  INSERT INTO retired_segments (object_key, source_id)
  SELECT key, complete.source_id FROM complete, unnest($5::text[]) AS key ON CONFLICT (object_key) DO NOTHING),
added AS (${INSERT_SEGMENTS.replace("<holder>", "complete")})
SELECT FROM complete`,
    values: [lease.sourceId, lease.token, epoch, segmentRows(lease.sourceId, [segment]), replaced],
  });
  return result.rowCount === 1;
}

/** `$3` epoch, `$4` the rows as JSON. */
const INSERT_SEGMENTS = `
  INSERT INTO change_segments (source_id, epoch, first_lsn, last_lsn, piece, object_key, first_at, last_at, max_xid, continued, continues,
    transactions, changes, raw_bytes, stored_bytes, tenant_hashes, has_shared, has_alterations)
  SELECT held.source_id, $3, r.first_lsn, r.last_lsn, r.piece, r.object_key, ${timestampOf("r.first_at")}, ${timestampOf("r.last_at")}, r.max_xid,
    r.continued, r.continues, r.transactions, r.changes, r.raw_bytes, r.stored_bytes, r.tenant_hashes, r.has_shared,
    r.has_alterations
  FROM <holder> AS held, jsonb_to_recordset($4::jsonb) AS r (first_lsn text, last_lsn text, piece int, object_key text, first_at bigint,
    last_at bigint, max_xid bigint, continued boolean, continues boolean, transactions bigint, changes bigint, raw_bytes bigint,
    stored_bytes bigint, tenant_hashes int[], has_shared boolean, has_alterations boolean)
  ON CONFLICT DO NOTHING`;

/** Numbers beyond 2^53 travel as text: jsonb reads both. */
function segmentRows(sourceId: string, segments: readonly NewChangeSegment[]): string {
  return JSON.stringify(
    segments.map((segment) => ({
      first_lsn: segment.firstLsn,
      last_lsn: segment.lastLsn,
      piece: segment.piece,
      object_key: segment.objectKey,
      first_at: segment.firstAt.toString(),
      last_at: segment.lastAt.toString(),
      max_xid: segment.maxXid.toString(),
      continued: segment.continued,
      continues: segment.continues,
      transactions: segment.transactions,
      changes: segment.changes,
      raw_bytes: segment.rawBytes,
      stored_bytes: segment.storedBytes,
      tenant_hashes: [...new Set([...segment.tenantKeys].map((key) => tenantHash(sourceId, key)))],
      has_shared: segment.hasShared,
      has_alterations: segment.hasAlterations,
    })),
  );
}

/** Objects that were retired `forMs` milliseconds ago, longest ago first. */
export async function listRetired(
  q: Queryable,
  of: { readonly sourceId: string; readonly forMs: number; readonly limit: number },
): Promise<string[]> {
  const result = await q.query({
    text: `SELECT object_key AS key FROM retired_segments
WHERE source_id = $1 AND retired_at < now() - $2 * interval '1 millisecond' ORDER BY retired_at LIMIT $3`,
    values: [of.sourceId, of.forMs, of.limit],
  });
  return allRows(result, z.object({ key: z.string() })).map((row) => row.key);
}

/** Their objects are gone. */
export async function forgetRetired(q: Queryable, objectKeys: readonly string[]): Promise<void> {
  await q.query({ text: "DELETE FROM retired_segments WHERE object_key = ANY ($1)", values: [objectKeys] });
}
