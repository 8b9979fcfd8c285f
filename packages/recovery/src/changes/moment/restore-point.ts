import { z } from "zod";
import { lsnDigits } from "../../postgres/lsn.ts";
import type { Source } from "../../postgres/source.ts";

/** A place in a source's WAL, exactly between two transactions. */
export interface RestorePointPlace {
  /** 16 hexadecimal digits. */
  readonly lsn: string;
  /** By the source's clock, microseconds since 1970. */
  readonly at: bigint;
}

const Row = z.object({ lsn: z.string(), at: z.coerce.bigint() });
/** A message's record is longer than this, so the place lies within it, and no commit can have it, counted by its begin or by its end. */
const WITHIN_THE_RECORD = 8n;

/**
 * Writes a message into the WAL (`pg_logical_emit_message`, PostgreSQL manual 9.28.6) and says where it is. It is of a transaction of its own:
 * its commit flushes the WAL, so that after a crash no other record can stand there.
 *
 * @throws RecoveryError `source_*`, `cancelled`
 */
export function writeRestorePoint(source: Source, name: string, signal: AbortSignal): Promise<RestorePointPlace> {
  return source.connect(
    async (client) => {
      const { rows } = await client.query(
        `SELECT pg_catalog.pg_logical_emit_message(true, 'rowback restore point', $1::text)::text AS lsn,
           (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint::text AS at`,
        [name],
      );
      const { lsn, at } = Row.parse(rows[0]);
      const end = BigInt(`0x${lsnDigits(lsn)}`);
      return { lsn: (end - WITHIN_THE_RECORD).toString(16).padStart(16, "0"), at };
    },
    { signal },
  );
}
