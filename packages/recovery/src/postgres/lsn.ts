/** A WAL position as PostgreSQL prints it (`0/1DBFC00`) as 16 hexadecimal digits in lower case, whose order is its order. */
export function lsnDigits(lsn: string): string {
  const [high = "", low = ""] = lsn.split("/");
  if (!/^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/.test(lsn)) throw new RangeError(`${lsn} is no WAL position`);
  return (high.padStart(8, "0") + low.padStart(8, "0")).toLowerCase();
}
