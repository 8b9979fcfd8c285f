/** A WAL position as PostgreSQL prints it (`0/1DBFC00`) as 16 hexadecimal digits in lower case, whose order is its order. */
export function lsnDigits(lsn: string): string {
  const [high = "", low = ""] = lsn.split("/");
  if (!/^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/.test(lsn)) throw new RangeError(`${lsn} is no WAL position`);
  return (high.padStart(8, "0") + low.padStart(8, "0")).toLowerCase();
}

/** 16 hexadecimal digits as PostgreSQL prints a WAL position. */
export function lsnText(digits: string): string {
  const part = (from: number): string =>
    Number.parseInt(digits.slice(from, from + 8), 16)
      .toString(16)
      .toUpperCase();
  return `${part(0)}/${part(8)}`;
}
