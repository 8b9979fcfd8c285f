import { z } from "zod";

/** A WAL position: 16 hexadecimal digits in lower case, so that the order of texts is the order of positions. */
export const Lsn = z.string().regex(/^[0-9a-f]{16}$/);

/** Microseconds since 1970; a Date would cut them. */
export const Micros = z.coerce.bigint();

/** A 64-bit transaction id. */
export const Xid = z.coerce.bigint();

/** SQL that reads a timestamptz as `Micros`. */
export function microsOf(column: string): string {
  return `(extract(epoch FROM ${column}) * 1000000)::bigint`;
}

/** SQL that makes a timestamptz of a parameter in microseconds, exactly: to_timestamp() would go through a float of seconds. */
export function timestampOf(parameter: string): string {
  return `(timestamptz 'epoch' + ${parameter}::bigint * interval '1 microsecond')`;
}
