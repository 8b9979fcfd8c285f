import { z } from "zod";

/** A page asked for: newest first, at most `limit` (1 … 500, default 100) after `cursor` (an earlier page's `next`). */
export interface PageRequest {
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Opaque; null on the last page. */
  readonly next: string | null;
}

export const DEFAULT_LIMIT = 100;
export const MAX_LIMIT = 500;

/** A cursor that this database never gave out, or gave out for another list; the API's answer is 400. */
export class InvalidCursorError extends Error {
  override readonly name = "InvalidCursorError";
}

/** Microseconds stay: a JS Date would cut them, and rows of the same millisecond would be skipped or given twice. */
const Moment = z.iso.datetime({ precision: 6 });
type Position = { readonly at: string; readonly id: string };

/** SQL for the `cursorAt` that `PositionedRow` reads. */
export function cursorAt(column: string): string {
  return `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "cursorAt"`;
}

export const PositionedRow = z.object({ id: z.string(), cursorAt: z.string() });

/**
 * Reads a page request: how many rows to ask for (one more than the page, to know whether there is another) and after
 * which position. `id` is what the list's rows are told apart by. Throws InvalidCursorError.
 */
export function readPage(
  request: PageRequest,
  id: z.ZodType<string> = z.uuid(),
): { limit: number; after: Position | null } {
  const limit = Math.min(Math.max(Math.trunc(request.limit ?? DEFAULT_LIMIT), 1), MAX_LIMIT);
  return { limit, after: request.cursor === undefined ? null : decode(request.cursor, id) };
}

/** The page of `rows` that were asked for with `LIMIT limit + 1`. */
export function pageOf<T>(result: { rows: unknown[] }, limit: number, schema: z.ZodType<T>): Page<T> {
  const rows = result.rows.slice(0, limit);
  const last = result.rows.length > limit ? PositionedRow.parse(rows.at(-1)) : null;
  return {
    items: rows.map((row) => schema.parse(row)),
    next: last === null ? null : encode({ at: last.cursorAt, id: last.id }),
  };
}

function encode(position: Position): string {
  return Buffer.from(JSON.stringify(position)).toString("base64url");
}

function decode(cursor: string, id: z.ZodType<string>): Position {
  try {
    return z.object({ at: Moment, id }).parse(JSON.parse(Buffer.from(cursor, "base64url").toString("utf8")));
  } catch (cause) {
    throw new InvalidCursorError("the cursor is not one that a page of this list gave out", { cause });
  }
}
