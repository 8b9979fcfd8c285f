import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type { Asked } from "../client.ts";
import { rowsOf } from "../sql.ts";

const Open = z.object({ id: z.string(), kind: z.string(), status: z.string(), attempt: z.int(), error: z.unknown() });
const ASK_AGAIN_MS = 500;

/** Waits until every run has ended. Returns those that have not after `withinMs`. */
export async function untilAllEnded(controlUrl: string, withinMs: number, signal: AbortSignal): Promise<string[]> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const open = await rowsOf(
      controlUrl,
      Open,
      "SELECT id, kind, status, attempt, error FROM runs WHERE status IN ('queued', 'running')",
    );
    if (open.length === 0) return [];
    if (Date.now() > deadline)
      return open.map((run) => `${run.kind} ${run.id} is still ${run.status}: ${JSON.stringify(run)}`);
    await delay(ASK_AGAIN_MS, undefined, { signal });
  }
}

/** Runs that were acknowledged and are not there. */
export async function missingRuns(controlUrl: string, asked: readonly Asked[]): Promise<string[]> {
  const rows = await rowsOf(controlUrl, z.object({ id: z.string() }), "SELECT id FROM runs");
  const present = new Set(rows.map(({ id }) => id));
  return asked.filter(({ runId }) => !present.has(runId)).map(({ runId, path }) => `${path} ${runId} is gone`);
}

/** Runs that did not end exactly once. */
export async function endsNotOnce(controlUrl: string): Promise<string[]> {
  const rows = await rowsOf(
    controlUrl,
    z.object({ id: z.string(), kind: z.string(), status: z.string(), ends: z.coerce.number() }),
    `SELECT r.id, r.kind, r.status, count(e.run_id) AS ends FROM runs r LEFT JOIN chaos.ends e ON e.run_id = r.id
     WHERE r.status NOT IN ('queued', 'running') GROUP BY r.id HAVING count(e.run_id) <> 1`,
  );
  return rows.map(({ id, kind, status, ends }) => `${kind} ${id}, ${status}, ended ${ends} times`);
}

const RestoreCount = z.object({ key: z.string(), restores: z.coerce.number() });

export interface EffectCheck {
  /** Effects on the source that no succeeded restore accounts for: a run executed twice, or one that failed and had an effect. */
  readonly tooMany: string[];
  /** Succeeded restores whose effect is not in the source's log. */
  readonly missing: string[];
}

/** Compares the transactions that wrote a tenant's rows with the restores into the source that say they changed something. */
export async function checkEffects(controlUrl: string, effects: ReadonlyMap<string, number>): Promise<EffectCheck> {
  const rows = await rowsOf(
    controlUrl,
    RestoreCount,
    `SELECT t.key, count(r.id) AS restores FROM tenants t
     LEFT JOIN runs r ON r.tenant_id = t.id AND r.kind = 'restore' AND r.status = 'succeeded'
       AND EXISTS (SELECT FROM restore_jobs j WHERE j.run_id = r.id AND j.target_source_id = r.source_id)
       AND EXISTS (SELECT FROM jsonb_array_elements(r.result->'tables') c
         WHERE (c->>'inserted')::int + (c->>'updated')::int + (c->>'deleted')::int > 0)
     GROUP BY t.key`,
  );
  const check: EffectCheck = { tooMany: [], missing: [] };
  for (const { key, restores } of rows) {
    const seen = effects.get(key) ?? 0;
    for (let n = restores; n < seen; n += 1)
      check.tooMany.push(`${key}: ${seen} transactions, but ${restores} restores succeeded with changes`);
    for (let n = seen; n < restores; n += 1)
      check.missing.push(`${key}: ${restores} restores succeeded with changes, but ${seen} transactions`);
  }
  return check;
}

/** Codes of the failed runs and how often each came. */
export async function failureCodes(controlUrl: string): Promise<Map<string, number>> {
  const rows = await rowsOf(
    controlUrl,
    z.object({ code: z.string(), runs: z.coerce.number() }),
    `SELECT kind || ' ' || (error->>'code') || CASE WHEN error->>'code' = 'internal' THEN ': ' || (error->>'message') ELSE '' END AS code,
       count(*) AS runs FROM runs WHERE status = 'failed' GROUP BY 1 ORDER BY 2 DESC`,
  );
  return new Map(rows.map(({ code, runs }) => [code, runs]));
}

export async function countRuns(controlUrl: string): Promise<number> {
  const [row] = await rowsOf(controlUrl, z.object({ runs: z.coerce.number() }), "SELECT count(*) AS runs FROM runs");
  return row?.runs ?? 0;
}
