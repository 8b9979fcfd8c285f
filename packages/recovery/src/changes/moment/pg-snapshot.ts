import { RecoveryError } from "../../errors.ts";

/** Which transactions a snapshot shows (PostgreSQL manual, 9.28.5 "Transaction ID and Snapshot Information Functions"). */
export interface PgSnapshot {
  /** Every transaction below it has ended. */
  readonly xmin: bigint;
  /** No transaction from it on had ended. */
  readonly xmax: bigint;
  /** Those between the two that were still running. */
  readonly running: ReadonlySet<bigint>;
}

const SNAPSHOT = /^(?<xmin>\d+):(?<xmax>\d+):(?<running>(?:\d+(?:,\d+)*)?)$/;

/** Reads `pg_current_snapshot()`'s text, `xmin:xmax:xip,…`. @throws RecoveryError `manifest_invalid` */
export function parsePgSnapshot(text: string): PgSnapshot {
  const { xmin, xmax, running } = SNAPSHOT.exec(text)?.groups ?? {};
  if (xmin === undefined || xmax === undefined || running === undefined) {
    throw new RecoveryError("manifest_invalid", `"${text}" is no snapshot of PostgreSQL`);
  }
  const ids = running === "" ? [] : running.split(",").map(BigInt);
  return { xmin: BigInt(xmin), xmax: BigInt(xmax), running: new Set(ids) };
}

/** Whether the snapshot shows what this transaction, which has committed by now, wrote. */
export function shows(snapshot: PgSnapshot, xid: bigint): boolean {
  return xid < snapshot.xmax && !snapshot.running.has(xid);
}
