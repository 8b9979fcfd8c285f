/** A WAL position as the change log writes it: 16 hexadecimal digits in lower case, so that the order of texts is that of positions. */
export function lsnText(lsn: bigint): string {
  return lsn.toString(16).padStart(16, "0");
}

/** Reads both forms that PostgreSQL prints, `0/1DBFC00` and `00000000/01DBFC00`, as the change log's text. */
export function lsnFromServer(text: string): string {
  const [, high, low] = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text) ?? [];
  if (high === undefined || low === undefined) throw new RangeError(`no WAL position: ${text}`);
  return `${high.padStart(8, "0")}${low.padStart(8, "0")}`.toLowerCase();
}

/** The change log's text as PostgreSQL reads it. */
export function lsnForServer(lsn: string): string {
  return `${lsn.slice(0, 8)}/${lsn.slice(8)}`;
}

const XIDS = 2n ** 32n;

/**
 * The 64-bit transaction id behind the 32 bits that a message carries: the one nearest to `near`, an id of about that time. Exact
 * as long as the two are less than 2^31 apart, which PostgreSQL itself guarantees of ids in use (manual, "Preventing Transaction
 * ID Wraparound Failures").
 */
export function widenXid(xid: number, near: bigint): bigint {
  const distance = BigInt.asIntN(32, BigInt(xid) - near);
  const wide = near + distance;
  return wide < 0n ? wide + XIDS : wide;
}

// PostgreSQL's timestamps count from 2000-01-01.
const POSTGRES_EPOCH_MICROS = 946_684_800_000_000n;

/** Microseconds since 1970 of a timestamp in a message. */
export function microsFromServer(timestamp: bigint): bigint {
  return timestamp + POSTGRES_EPOCH_MICROS;
}
