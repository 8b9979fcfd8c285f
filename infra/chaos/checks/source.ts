import { z } from "zod";
import { rowsOf } from "../sql.ts";

/** What runs may leave behind in a source. */
const LEFTOVERS = `
  SELECT 'session ' || pid || ' of ' || application_name || ' is ' || state || ' since ' || state_change AS leftover
  FROM pg_stat_activity WHERE application_name LIKE 'rowback%' AND state LIKE 'idle in transaction%'
  UNION ALL SELECT 'session ' || pid || ' of ' || application_name || ' still runs: ' || left(query, 60)
  FROM pg_stat_activity WHERE application_name LIKE 'rowback%' AND state = 'active'
  UNION ALL SELECT 'an advisory lock of session ' || pid FROM pg_locks WHERE locktype = 'advisory'
  UNION ALL SELECT 'the prepared transaction ' || gid FROM pg_prepared_xacts
  UNION ALL SELECT 'the table ' || oid::regclass FROM pg_class WHERE relpersistence = 't'
  UNION ALL SELECT 'the replication slot ' || slot_name FROM pg_replication_slots WHERE slot_name NOT LIKE 'chaos%'`;

/** Sessions, locks, prepared transactions and temporary objects of runs that have all ended. */
export async function leftovers(sourceUrl: string): Promise<string[]> {
  const rows = await rowsOf(sourceUrl, z.object({ leftover: z.string() }), LEFTOVERS);
  return rows.map(({ leftover }) => `in the source: ${leftover}`);
}
