import { z } from "zod";
import { rowsOf, runSql } from "./sql.ts";
import type { World } from "./world.ts";

/** What the load's own transactions say, so that all others are Rowback's. */
export const OWN_WRITE = "SELECT pg_logical_emit_message(true, 'chaos', 'own')";

/** Ends of runs, noted by the control database itself; effects on the source, read from its log. Both see what no process tells. */
export const CONTROL_JOURNAL = `
  CREATE SCHEMA chaos;
  CREATE TABLE chaos.ends (run_id uuid NOT NULL, status text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
  CREATE FUNCTION chaos.note_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
  BEGIN
    INSERT INTO chaos.ends (run_id, status) VALUES (NEW.id, NEW.status);
    RETURN NULL;
  END $$;
  CREATE TRIGGER chaos_note_end AFTER UPDATE ON runs FOR EACH ROW
    WHEN (NEW.status IN ('succeeded', 'failed', 'cancelled') AND NEW.finished_at IS DISTINCT FROM OLD.finished_at)
    EXECUTE FUNCTION chaos.note_end();`;

const TABLES = ["tenants", "accounts", "savings", "documents", "comments"] as const;

export async function prepareJournals(urls: World["urls"]): Promise<void> {
  await runSql(urls.control, CONTROL_JOURNAL);
  // Deleted rows have to tell whose they were.
  await runSql(urls.source, TABLES.map((table) => `ALTER TABLE ${table} REPLICA IDENTITY FULL`).join(";"));
}

/** From here on the source's writes are kept for `effectsByTenant`. */
export async function beginEffectsJournal(sourceUrl: string): Promise<void> {
  await runSql(sourceUrl, "SELECT pg_create_logical_replication_slot('chaos_effects', 'test_decoding')");
}

const Change = z.object({ xid: z.string(), data: z.string() });

/** How many transactions that are not the load's own wrote rows of each tenant. */
export async function effectsByTenant(sourceUrl: string): Promise<Map<string, number>> {
  const changes = await rowsOf(
    sourceUrl,
    Change,
    "SELECT xid::text, data FROM pg_logical_slot_get_changes('chaos_effects', NULL, NULL)",
  );
  const tenants = new Map<string, Set<string>>();
  const own = new Set<string>();
  for (const { xid, data } of changes) {
    if (data.startsWith("message:") && data.includes("chaos")) own.add(xid);
    const tenant = /tenant_id\[text\]:'(t\d+)'/.exec(data)?.[1] ?? /text\[text\]:'(t\d+) /.exec(data)?.[1];
    if (tenant === undefined) continue;
    const seen = tenants.get(xid) ?? new Set();
    tenants.set(xid, seen.add(tenant));
  }
  const effects = new Map<string, number>();
  for (const [xid, written] of tenants) {
    if (own.has(xid)) continue;
    for (const tenant of written) effects.set(tenant, (effects.get(tenant) ?? 0) + 1);
  }
  return effects;
}
