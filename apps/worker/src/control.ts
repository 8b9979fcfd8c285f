import type { ControlDatabase, Queryable } from "@rowback/db";

// SQLSTATE classes of a server that is going, gone, starting or full (PostgreSQL manual, appendix A).
const PASSING_CLASSES = new Set(["08", "40", "53", "55", "57", "58"]);

/** Rowback's own database refused or did not answer. Kept apart from what a source says with the same codes. */
export class ControlDatabaseError extends Error {
  override readonly name = "ControlDatabaseError";
  readonly retryable: boolean;

  constructor(cause: unknown) {
    const sqlState = sqlStateOf(cause);
    const retryable = sqlState === null || PASSING_CLASSES.has(sqlState.slice(0, 2));
    super(
      retryable
        ? "The control database did not answer."
        : `The control database refused a statement (SQLSTATE ${sqlState}).`,
      { cause },
    );
    this.retryable = retryable;
  }
}

/** Single statements on the control database whose errors are its own for certain. */
export function controlQueries(db: ControlDatabase): Queryable {
  return { query: (statement) => ofControlDatabase(db.system.query(statement)) };
}

/** The same for a whole transaction. */
export async function ofControlDatabase<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new ControlDatabaseError(error);
  }
}

/** Null for what never reached a server, or came from a broken connection: those have node's code or none. */
function sqlStateOf(error: unknown): string | null {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return null;
  return /^[0-9A-Z]{5}$/.test(error.code) && "severity" in error ? error.code : null;
}
