/** A moment as microseconds since 1970 in ISO 8601: `2026-11-27T16:39:03.123456Z`. */
export function isoOfMicros(micros: bigint): string {
  const rest = ((micros % 1_000_000n) + 1_000_000n) % 1_000_000n;
  const seconds = new Date(Number((micros - rest) / 1_000n)).toISOString().slice(0, 19);
  return `${seconds}.${rest.toString().padStart(6, "0")}Z`;
}

const TIME =
  /^(?<date>\d{4}-\d{2}-\d{2})T(?<clock>\d{2}:\d{2}(?::\d{2})?)(?:\.(?<fraction>\d{1,9}))?(?<zone>Z|[+-]\d{2}:\d{2})$/;

/**
 * Reads ISO 8601 with a zone and whole seconds, or up to nine digits of a fraction (beyond microseconds they are cut, as PostgreSQL counts no
 * finer); null for anything else, also for a day that no calendar has.
 */
export function microsOfIso(text: string): bigint | null {
  const { date, clock, fraction = "", zone } = TIME.exec(text)?.groups ?? {};
  if (date === undefined || clock === undefined || zone === undefined) return null;
  const local = Date.parse(`${date}T${clock}Z`);
  // 30 February is taken for 1 March by some parsers, and 24:00 for the next day.
  if (Number.isNaN(local) || !new Date(local).toISOString().startsWith(`${date}T${clock}`)) return null;
  const millis = Date.parse(`${date}T${clock}${zone}`);
  return Number.isNaN(millis) ? null : BigInt(millis) * 1_000n + BigInt(fraction.padEnd(6, "0").slice(0, 6));
}
