import { z } from "zod";
import { type PgSnapshot, parsePgSnapshot, shows } from "./pg-snapshot.ts";

const Decimal = z.string().regex(/^\d{1,20}$/);

/** Up to which transaction a moment reaches (docs/CHANGE-LOG.md, "What a restore reads"). */
export const MomentLimit = z.discriminatedUnion("kind", [
  /** Every transaction that was committed at this time or before: microseconds since 1970. */
  z.object({ kind: z.literal("time"), at: Decimal }),
  /** Every transaction with this commit LSN or a lower one: 16 hexadecimal digits. */
  z.object({ kind: z.literal("lsn"), lsn: z.string().regex(/^[0-9a-f]{16}$/) }),
  /** Every transaction that was committed before this one. */
  z.object({ kind: z.literal("before"), xid: Decimal }),
  /** Every transaction that this snapshot of the source shows. */
  z.object({ kind: z.literal("snapshot"), pgSnapshot: z.string() }),
]);
export type MomentLimit = z.infer<typeof MomentLimit>;

/** A committed transaction of the log. */
export interface Transaction {
  /** Commit LSN. */
  readonly lsn: bigint;
  readonly xid: bigint;
  /** Commit time, microseconds since 1970. */
  readonly at: bigint;
}

/** The transactions between a base and a moment. */
export interface ChangeSpan {
  readonly base: PgSnapshot;
  includes(transaction: Transaction): boolean;
  /**
   * Whether the moment lies between a place and a transaction behind it, which the base does not show: so that something that happened
   * between the two may have been before the moment or after it.
   */
  isBetween(since: Pick<Transaction, "lsn" | "at">, by: Transaction): boolean;
}

/** `before` has to be made an LSN first: only the log knows when that transaction was committed. */
export type KnownLimit = Exclude<MomentLimit, { kind: "before" }>;

/** What belongs to a moment: what the base's snapshot does not show, up to the limit. @throws RecoveryError `manifest_invalid` */
export function changeSpan(baseSnapshot: string, limit: KnownLimit): ChangeSpan {
  const base = parsePgSnapshot(baseSnapshot);
  const within = withinLimit(limit);
  return {
    base,
    includes: (transaction) => !shows(base, transaction.xid) && within(transaction),
    isBetween: (since, by) => !shows(base, by.xid) && !within(by) && isBehind(limit, since),
  };
}

function withinLimit(limit: KnownLimit): (transaction: Transaction) => boolean {
  switch (limit.kind) {
    case "time": {
      const last = BigInt(limit.at);
      return ({ at }) => at <= last;
    }
    case "lsn": {
      const last = parseLsn(limit.lsn);
      return ({ lsn }) => lsn <= last;
    }
    case "snapshot": {
      const snapshot = parsePgSnapshot(limit.pgSnapshot);
      return ({ xid }) => shows(snapshot, xid);
    }
  }
}

function isBehind(limit: KnownLimit, { lsn, at }: Pick<Transaction, "lsn" | "at">): boolean {
  switch (limit.kind) {
    case "time":
      return BigInt(limit.at) > at;
    case "lsn":
      return parseLsn(limit.lsn) > lsn;
    case "snapshot":
      // A snapshot has no place in the log; what it shows of the table is what the log has of it.
      return false;
  }
}

/** 16 hexadecimal digits. */
export function parseLsn(text: string): bigint {
  return BigInt(`0x${text}`);
}
