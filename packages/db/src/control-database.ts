import pg from "pg";

/** One statement. A `name` makes it a prepared one: parsed once per connection. */
export interface Statement {
  readonly name?: string;
  readonly text: string;
  readonly values?: unknown[];
}

/** What a table function needs; rows are `unknown` until zod has read them. */
export interface Queryable {
  query(statement: Statement): Promise<{ rows: unknown[]; rowCount: number | null }>;
}

export interface ControlDatabaseOptions {
  /** postgres:// URL of a user that is a member of both roles (`migrate` sees to it). */
  readonly url: string;
  /** Upper bound of connections of this process. */
  readonly maxConnections: number;
  readonly applicationName: string;
  /** Told of errors of idle connections (a restart of the server); the pool replaces them by itself. */
  readonly onIdleError?: (error: Error) => void;
}

export interface ControlDatabase {
  /** Single autocommit statements as `rowback_system`: one round trip each. */
  readonly system: Queryable;
  /** For `withTenant` and `withSystem` alone. */
  readonly pool: pg.Pool;
  /** Waits for what is checked out, then closes every connection. */
  close(): Promise<void>;
}

// A control statement takes milliseconds; one that takes this long waits for a lock that nobody will release.
const STATEMENT_TIMEOUT_MS = 30_000;
// A worker that froze inside a transaction must not hold its rows, or nobody else can take its run over.
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 30_000;
// Long enough for a failover's DNS, short enough that /readyz and a request fail before their callers give up.
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Opens the control database. Every connection starts as `rowback_system`, so no statement ever runs with the rights
 * of the connecting user, who may own the tables. Nothing is connected until the first statement.
 */
export function openControlDatabase(options: ControlDatabaseOptions): ControlDatabase {
  const pool = new pg.Pool({
    connectionString: withRole(options.url, "rowback_system"),
    max: options.maxConnections,
    application_name: options.applicationName,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
    keepAlive: true,
  });
  pool.on("error", (error) => options.onIdleError?.(error));
  return { pool, system: { query: (statement) => pool.query(statement) }, close: () => pool.end() };
}

/** The URL with `-c role=…` added to its startup options; those it already has stay. */
export function withRole(url: string, role: string): string {
  const parsed = new URL(url);
  const present = parsed.searchParams.get("options");
  parsed.searchParams.set("options", `${present === null ? "" : `${present} `}-c role=${role}`);
  return parsed.href;
}
