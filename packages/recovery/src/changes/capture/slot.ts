import pg from "pg";
import { z } from "zod";
import { RecoveryError } from "../../errors.ts";
import type { Source, SourceClient } from "../../postgres/source.ts";
import { toRecoveryError } from "../../postgres/source-error.ts";
import type { CaptureNames } from "./capture-findings.ts";
import type { SeenTables } from "./capture-target.ts";
import { seeDdlTrigger } from "./ddl-trigger.ts";
import { readNextXid, readPublished } from "./read-published.ts";
import { lsnFromServer } from "./wal-position.ts";

/** A new slot: the beginning of an epoch. */
export interface SlotStart {
  /** A base is usable if its snapshot's xmin is at least this: whatever it does not show began after the slot, and is in the log. */
  readonly startXid: bigint;
  /** 16 hexadecimal digits. */
  readonly startLsn: string;
  /** The source's clock, microseconds since 1970. */
  readonly startedAt: bigint;
  /** The publication's tables, looked at just before: what the stream's first messages speak of is told from there on. */
  readonly seen: SeenTables;
}

/** What the server says of the slot. */
export interface SlotState {
  /** Nothing can be read from it any more: it is gone, or the server removed WAL that it needs. */
  readonly lost: boolean;
  /** The server process that reads from it. */
  readonly activePid: number | null;
  /** The server's write position: 16 hexadecimal digits. */
  readonly serverLsn: string;
  /** Bytes of WAL behind which the slot's acknowledged position is. */
  readonly lagBytes: number;
  /** Bytes that may still be written before the slot is lost; null: without limit. */
  readonly safeBytes: number | null;
}

/** Makes the slot. Waits for the transactions that are running now. Throws RecoveryError, `conflict` where it is there already. */
export async function createSlot(
  source: Source,
  { slotName, publicationName }: CaptureNames,
  signal: AbortSignal,
): Promise<SlotStart> {
  return await source.connect(
    async (client) => {
      const before = await readPublished(client, publicationName);
      const made = await client
        .query("SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput')", [slotName])
        .catch((error: unknown) => {
          throw slotExists(error, slotName);
        });
      const [{ lsn }] = z.tuple([z.object({ lsn: z.string() })]).parse(made.rows);
      const startXid = await readNextXid(client);
      const { rows } = await client.query(
        "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint AS at",
      );
      const [{ at }] = z.tuple([z.object({ at: z.coerce.bigint() })]).parse(rows);
      // Tables may have changed until the slot was there.
      const ddlTrigger = seeDdlTrigger(null, { ...before, oldestXid: -1n });
      const seen = { tables: before.tables, unpublished: [], lsn: before.lsn, at: before.at, ddlTrigger };
      return { startXid, startLsn: lsnFromServer(lsn), startedAt: at, seen };
    },
    { signal },
  );
}

function slotExists(error: unknown, slotName: string): unknown {
  if (!(error instanceof pg.DatabaseError) || error.code !== "42710") return error;
  return new RecoveryError("conflict", `The source has a replication slot ${slotName} already.`, {
    hint: `Find out whose it is; if nobody reads it: SELECT pg_drop_replication_slot('${slotName}');`,
  });
}

const State = z.object({
  serverLsn: z.string(),
  lagBytes: z.coerce.number().nullable(),
  safeBytes: z.coerce.number().nullable(),
  activePid: z.int().nullable(),
  walStatus: z.string().nullable(),
  present: z.boolean(),
});

/** Looks at the slot. Errors as of the driver. */
export async function readSlot(client: SourceClient, slotName: string): Promise<SlotState> {
  const { rows } = await client.query(
    `SELECT w.lsn::text AS "serverLsn", pg_catalog.pg_wal_lsn_diff(w.lsn, s.confirmed_flush_lsn) AS "lagBytes",
      s.safe_wal_size AS "safeBytes", s.active_pid AS "activePid", s.wal_status AS "walStatus", s.slot_name IS NOT NULL AS present
    FROM (SELECT pg_catalog.pg_current_wal_lsn() AS lsn) w
      LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = $1`,
    [slotName],
  );
  const [state] = z.tuple([State]).parse(rows);
  return {
    lost: !state.present || state.walStatus === "lost",
    activePid: state.activePid,
    serverLsn: lsnFromServer(state.serverLsn),
    lagBytes: Math.max(0, state.lagBytes ?? 0),
    safeBytes: state.safeBytes,
  };
}

/**
 * Ends the server process that reads from the slot, if there is one: its worker is dead or has lost the lease, and the server has not
 * noticed yet. Whether it ended shows in the next attempt to read.
 */
export async function freeSlot(client: SourceClient, slotName: string): Promise<void> {
  await client.query(
    "SELECT pg_catalog.pg_terminate_backend(active_pid) FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND active",
    [slotName],
  );
}

// A walsender that was told to end does so within moments, unless it is in the middle of decoding a large transaction.
const FREE_ATTEMPTS = 100;
const FREE_WAIT_MS = 100;

/** Drops the slot, from under whoever reads it. A slot that is not there is fine. Throws RecoveryError. */
export async function dropSlot(source: Source, slotName: string, signal: AbortSignal): Promise<void> {
  await source.connect(
    async (client) => {
      for (let attempt = 1; ; attempt += 1) {
        await freeSlot(client, slotName);
        try {
          await client.query(
            "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = $1",
            [slotName],
          );
          return;
        } catch (error) {
          if (!isSlotInUse(error) || attempt === FREE_ATTEMPTS) throw toRecoveryError(error, { sourceId: source.id });
          await new Promise((resolve) => setTimeout(resolve, FREE_WAIT_MS));
        }
      }
    },
    { signal },
  );
}

function isSlotInUse(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === "55006";
}
