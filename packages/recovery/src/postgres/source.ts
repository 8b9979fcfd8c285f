import type pg from "pg";
import type { ScopeRule, Tenancy } from "./tenancy.ts";

export { SESSION_SETTINGS } from "./session-settings.ts";

export type SourceClient = pg.PoolClient;

export interface ConnectOptions {
  /** Aborting cancels the running statement on the server and destroys the connection; `cancelled` is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/** A database that holds tenants' rows. */
export interface Source {
  readonly id: string;
  readonly tenancy: Tenancy;
  readonly rules: readonly ScopeRule[];
  /**
   * Lends `fn` one pooled connection with SESSION_SETTINGS applied, waiting for a free one; it goes back when `fn` ends.
   * A connection that saw an error or an abort, or is left inside a transaction, is destroyed, not reused.
   * Every error leaves as a RecoveryError: the source's own are classified, those of `fn` too.
   */
  connect<T>(fn: (client: SourceClient) => Promise<T>, options?: ConnectOptions): Promise<T>;
  /** The same, but null at once when no connection is free; what may be done with one connection must not wait for two. */
  tryConnect<T>(fn: (client: SourceClient) => Promise<T>, options?: ConnectOptions): Promise<T> | null;
  /** Ends when the last connection is closed. */
  close(): Promise<void>;
}

export interface SourceOptions {
  readonly id: string;
  /** `postgres://user:password@host:port/database`; appears in no error and no log. */
  readonly connectionString: string;
  readonly tenancy: Tenancy;
  readonly rules: readonly ScopeRule[];
  readonly maxConnections: number;
  /** Milliseconds; 10,000 unless told. */
  readonly connectTimeoutMs?: number;
  readonly applicationName?: string;
}

/** Opens a source; the first connection is made by the first `connect`. Throws `source_not_configured` on a malformed string. */
export function openSource(_options: SourceOptions): Source {
  throw new Error("not built yet");
}
