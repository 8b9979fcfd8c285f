import pg from "pg";
import { RecoveryError } from "../errors.ts";
import { cancelRunningStatement } from "./cancel-request.ts";
import { ConnectionSlots } from "./connection-slots.ts";
import { openReadSocket } from "./read-socket.ts";
import { applySessionSettings } from "./session-settings.ts";
import { type FailureContext, toRecoveryError } from "./source-error.ts";
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
  /**
   * A connection of the streaming replication protocol, beside the pool and not yet connected; whoever asks for it ends it.
   * It is nobody's to share: its server process does nothing else while it streams.
   */
  replicationClient(): pg.Client;
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

const CONNECT_TIMEOUT_MS = 10_000;
/** Firewalls forget silent connections after some minutes; a COPY that waits for the store is silent. */
const KEEPALIVE_AFTER_MS = 30_000;

/** Opens a source; the first connection is made by the first `connect`. Throws `source_not_configured` on a malformed string. */
export function openSource(options: SourceOptions): Source {
  return new PooledSource(options);
}

class PooledSource implements Source {
  readonly id: string;
  readonly tenancy: Tenancy;
  readonly rules: readonly ScopeRule[];
  readonly #pool: pg.Pool;
  readonly #slots: ConnectionSlots;
  readonly #prepared = new WeakSet<SourceClient>();
  readonly #connectTimeoutMs: number;
  readonly #hasPassword: boolean;
  readonly #replication: pg.ClientConfig & { readonly replication: "database" };

  constructor(options: SourceOptions) {
    this.id = options.id;
    this.tenancy = options.tenancy;
    this.rules = options.rules;
    this.#connectTimeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    const { hasPassword, usesTls } = readConnectionString(options);
    this.#hasPassword = hasPassword;
    this.#slots = new ConnectionSlots(options.maxConnections);
    const connection = {
      connectionString: options.connectionString,
      connectionTimeoutMillis: this.#connectTimeoutMs,
      application_name: options.applicationName ?? "rowback",
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEPALIVE_AFTER_MS,
    };
    // TLS takes a socket's handle over, and does its own reading.
    const stream = usesTls ? {} : { stream: openReadSocket };
    this.#replication = { ...connection, ...stream, replication: "database" };
    this.#pool = new pg.Pool({ ...connection, ...stream, max: options.maxConnections, allowExitOnIdle: true });
    // An idle connection that dies is no news: the pool drops it, and the next `connect` opens another.
    this.#pool.on("error", () => undefined);
  }

  async connect<T>(fn: (client: SourceClient) => Promise<T>, { signal }: ConnectOptions = {}): Promise<T> {
    try {
      await this.#slots.take(signal);
    } catch (error) {
      throw this.#classified(error, { signal });
    }
    return this.#lendAndGive(fn, signal);
  }

  tryConnect<T>(fn: (client: SourceClient) => Promise<T>, { signal }: ConnectOptions = {}): Promise<T> | null {
    return this.#slots.tryTake() ? this.#lendAndGive(fn, signal) : null;
  }

  replicationClient(): pg.Client {
    return new pg.Client(this.#replication);
  }

  close(): Promise<void> {
    return this.#pool.end();
  }

  async #lendAndGive<T>(fn: (client: SourceClient) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    try {
      return await this.#lend(await this.#checkOut(signal), fn, signal);
    } finally {
      this.#slots.give();
    }
  }

  /** A connected client. On abort it is left to the pool as soon as it arrives. */
  async #checkOut(signal: AbortSignal | undefined): Promise<SourceClient> {
    const startedAt = performance.now();
    const connecting = this.#pool.connect();
    try {
      return await abortable(connecting, signal);
    } catch (error) {
      connecting.then(
        (client) => client.release(true),
        () => undefined,
      );
      const timedOut = performance.now() - startedAt >= this.#connectTimeoutMs;
      throw this.#classified(error, { signal, connecting: { hasPassword: this.#hasPassword, timedOut } });
    }
  }

  async #lend<T>(
    client: SourceClient,
    fn: (client: SourceClient) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    let cutting: Promise<void> | undefined;
    const onLost = (): void => void LOST.add(client);
    const onAbort = (): void => {
      cutting = cancelRunningStatement(client).then(() => void client.connection.stream.destroy());
    };
    client.on("error", onLost);
    client.once("end", onLost);
    signal?.addEventListener("abort", onAbort, { once: true });
    let reusable = false;
    try {
      signal?.throwIfAborted();
      await this.#prepare(client);
      const result = await fn(client);
      reusable = !isLost(client) && cutting === undefined && client.getTransactionStatus() === "I";
      return result;
    } catch (error) {
      throw this.#classified(error, { signal, connectionLost: isLost(client) });
    } finally {
      signal?.removeEventListener("abort", onAbort);
      await cutting;
      client.release(!reusable);
      client.removeListener("error", onLost);
      client.removeListener("end", onLost);
    }
  }

  async #prepare(client: SourceClient): Promise<void> {
    if (this.#prepared.has(client)) return;
    await client.query(applySessionSettings("session"));
    this.#prepared.add(client);
  }

  #classified(error: unknown, context: FailureContext): RecoveryError {
    return toRecoveryError(error, { sourceId: this.id, ...context });
  }
}

const LOST = new WeakSet<SourceClient>();

/** Whether the connection ended under the one who holds it. */
export function isLost(client: SourceClient): boolean {
  return LOST.has(client);
}

/** What the string brings. Throws `source_not_configured`, without the string, when it can't be used. */
function readConnectionString({ id, connectionString }: SourceOptions): { hasPassword: boolean; usesTls: boolean } {
  try {
    const { protocol } = new URL(connectionString);
    if (protocol !== "postgres:" && protocol !== "postgresql:") throw new TypeError("not a postgres:// address");
    const client = new pg.Client({ connectionString });
    return { hasPassword: Boolean(client.password), usesTls: Boolean(client.ssl) };
  } catch {
    // No cause: a parser's error repeats its input.
    throw new RecoveryError("source_not_configured", "The source's connection string can't be read.", {
      sourceId: id,
      hint: "Set it to postgres://user:password@host:port/database, with special characters percent-encoded.",
    });
  }
}

async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
