import { z } from "zod";

/** Any JSON value, as it came out of a jsonb column. */
export const Json = z.json();
export type Json = z.infer<typeof Json>;

/** A bigint column: pg gives text; beyond 2^53 it is refused rather than rounded. */
export const Int8 = z.coerce.number().pipe(z.int());

/** Every row, parsed. */
export function allRows<T>(result: { rows: unknown[] }, schema: z.ZodType<T>): T[] {
  return result.rows.map((row) => schema.parse(row));
}

/** The first row, parsed, or null when there is none. */
export function firstRow<T>(result: { rows: unknown[] }, schema: z.ZodType<T>): T | null {
  return result.rows.length === 0 ? null : schema.parse(result.rows[0]);
}

/** The text of a jsonb parameter; null stays SQL's NULL. */
export function jsonb(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  const text = JSON.stringify(value);
  // jsonb refuses NUL and lone surrogates. An error message that carries one must not keep a failure from being recorded.
  return /\\u(0000|d[89a-f])/i.test(text) ? JSON.stringify(value, replaceUnstorable) : text;
}

function replaceUnstorable(_key: string, value: unknown): unknown {
  return typeof value === "string" ? value.toWellFormed().replaceAll("\u0000", "\ufffd") : value;
}
