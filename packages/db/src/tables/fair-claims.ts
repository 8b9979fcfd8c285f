import { z } from "zod";
import type { Queryable } from "../control-database.ts";
import { allRows } from "../rows.ts";
import { EARLY_MS } from "./run-claims.ts";
import { ClaimedRun, RUN_COLUMNS, type RunKind } from "./run-row.ts";

/** A tenant's place in the ring of those that have something queued; the source's own runs have its id in both. */
export interface RingPlace {
  readonly sourceId: string;
  readonly tenantId: string;
}

export interface FairClaim {
  /** Kinds that share their limits: those of one queue. */
  readonly kinds: readonly RunKind[];
  /** How many runs at most, 1 … */
  readonly wanted: number;
  readonly worker: string;
  /** How long the claims hold without a renewal, by the database's clock. */
  readonly leaseMs: number;
  /** How many runs of these kinds one tenant, and one source, may have running, counting every worker. */
  readonly perTenant: number;
  readonly perSource: number;
  /** Sources whose runs must wait. */
  readonly shutSources: readonly string[];
  /** Whose turn it was last; the ring's beginning when left out. */
  readonly after?: RingPlace | undefined;
}

/**
 * Takes due runs in fair order: one of each tenant in turn, its oldest first, whatever the number it has queued
 * (migration 0015; decision 0045). Two claims of the same kinds wait for each other, so the limits hold exactly.
 */
export async function claimFairRuns(q: Queryable, claim: FairClaim): Promise<ClaimedRun[]> {
  const result = await q.query({
    name: "claim_fair_runs",
    text: `SELECT ${RUN_COLUMNS}, r.attempt_token AS "attemptToken"
FROM claim_fair_runs($1, $2, $3, $4, ${EARLY_MS}, $5, $6, $7, $8, $9) r`,
    values: [
      claim.kinds,
      claim.wanted,
      claim.worker,
      claim.leaseMs,
      claim.perTenant,
      claim.perSource,
      claim.shutSources,
      claim.after?.sourceId ?? null,
      claim.after?.tenantId ?? null,
    ],
  });
  return allRows(result, ClaimedRun);
}

const Due = z.object({ due: z.boolean() });

/** Whether any run of these kinds is due: after a claim that got none, they are all held up by a limit. */
export async function hasDueRuns(q: Queryable, kinds: readonly RunKind[]): Promise<boolean> {
  const result = await q.query({
    name: "has_due_runs",
    text: `SELECT EXISTS (SELECT FROM runs r WHERE r.status = 'queued' AND r.kind = ANY ($1)
  AND r.available_at <= now() + interval '${EARLY_MS} milliseconds'
  AND (r.parent_run_id IS NULL OR r.available_at < now() - interval '10 seconds')) AS due`,
    values: [kinds],
  });
  return allRows(result, Due).some(({ due }) => due);
}
