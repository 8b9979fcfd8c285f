import { getSource, getSourceConnection, openSecret, type Queryable, SealedSecretError } from "@rowback/db";
import type { Breaker, Breakers } from "@rowback/jobs";
import { CatalogCache, openSource, type Source } from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";
import { ScopeRule, Tenancy } from "@rowback/recovery/plans";
import { z } from "zod";
import type { SecretResolver } from "./config.ts";
import { PROBE_MS } from "./dependencies.ts";

/** A source in use, and the last catalogue read of it. */
export interface PooledSource {
  readonly source: Source;
  readonly catalogCache: CatalogCache;
  /** Whether what is stored of its tenants is sealed. */
  readonly encryption: boolean;
}

export interface SourcePoolOptions {
  readonly control: Queryable;
  /** 32 bytes. */
  readonly secretKey: Buffer;
  readonly resolveSecret: SecretResolver;
  /** The most connections to one source. */
  readonly maxConnections: number;
  readonly applicationName: string;
  /** Milliseconds; a source that nobody used for so long is closed. */
  readonly idleMs?: number;
  /** Told how each use of a source went, and asked before each whether it makes sense. */
  readonly breakers?: Breakers;
}

interface Entry {
  readonly updatedAt: number;
  readonly pooled: PooledSource;
  users: number;
  /** Set when the row changed: closed by its last user. */
  stale: boolean;
  idleTimer: NodeJS.Timeout | null;
}

// The next backup of a busy source finds its connections warm; a forgotten one does not hold any for long.
const IDLE_MS = 60_000;

/** One `Source` per source id, shared by the runs of this process; opened anew when its row has changed. */
export class SourcePool {
  readonly #options: SourcePoolOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #closing = new Set<Promise<void>>();

  constructor(options: SourcePoolOptions) {
    this.#options = options;
  }

  /**
   * Lends the source to `fn`. Throws `source_not_configured` when its row is gone, malformed, or its secret can't be had;
   * `source_unreachable` at once while its breaker is open.
   */
  async use<T>(sourceId: string, fn: (pooled: PooledSource) => Promise<T>): Promise<T> {
    const breaker = this.#options.breakers?.of(`source:${sourceId}`, () => this.#probe(sourceId));
    if (breaker?.isShut) throw resting(sourceId);
    try {
      const result = await this.#lend(sourceId, fn);
      breaker?.succeeded();
      return result;
    } catch (error) {
      if (breaker !== undefined) tell(breaker, error);
      throw error;
    }
  }

  async #lend<T>(sourceId: string, fn: (pooled: PooledSource) => Promise<T>): Promise<T> {
    const entry = await this.#entry(sourceId);
    try {
      return await fn(entry.pooled);
    } finally {
      this.#release(sourceId, entry);
    }
  }

  /** Waits until every source is closed; call it when no run is active any more. */
  async close(): Promise<void> {
    for (const [sourceId, entry] of this.#entries) this.#evict(sourceId, entry);
    await Promise.all(this.#closing);
  }

  /** Rejects only when the server does not answer: one that refuses us is for its owner to put right, run by run. */
  async #probe(sourceId: string): Promise<void> {
    const signal = AbortSignal.timeout(PROBE_MS);
    try {
      await this.#lend(sourceId, ({ source }) => source.connect((client) => client.query("SELECT 1"), { signal }));
    } catch (error) {
      if (signal.aborted || isUnreachable(error)) throw error;
    }
  }

  async #entry(sourceId: string): Promise<Entry> {
    const row = await getSource(this.#options.control, sourceId);
    if (row === null) throw notConfigured(sourceId, "The source does not exist any more.");
    const updatedAt = row.updatedAt.getTime();
    const present = this.#take(sourceId, updatedAt);
    if (present !== null) return present;
    const connectionString = await this.#connectionString(sourceId);
    // Another run may have opened it while we asked.
    const opened = this.#take(sourceId, updatedAt);
    if (opened !== null) return opened;
    const entry: Entry = {
      updatedAt,
      pooled: {
        source: openSource({
          id: sourceId,
          connectionString,
          tenancy: parsed(sourceId, Tenancy, row.tenancy),
          rules: parsed(sourceId, z.array(ScopeRule), row.rules),
          maxConnections: this.#options.maxConnections,
          applicationName: this.#options.applicationName,
        }),
        catalogCache: new CatalogCache(),
        encryption: row.encryption,
      },
      users: 1,
      stale: false,
      idleTimer: null,
    };
    this.#entries.set(sourceId, entry);
    return entry;
  }

  #take(sourceId: string, updatedAt: number): Entry | null {
    const entry = this.#entries.get(sourceId);
    if (entry === undefined) return null;
    if (entry.updatedAt !== updatedAt) {
      this.#evict(sourceId, entry);
      return null;
    }
    if (entry.idleTimer !== null) clearTimeout(entry.idleTimer);
    entry.idleTimer = null;
    entry.users += 1;
    return entry;
  }

  #release(sourceId: string, entry: Entry): void {
    entry.users -= 1;
    if (entry.users > 0) return;
    if (entry.stale) {
      this.#closeSource(entry);
      return;
    }
    entry.idleTimer = setTimeout(() => this.#evict(sourceId, entry), this.#options.idleMs ?? IDLE_MS);
    entry.idleTimer.unref();
  }

  #evict(sourceId: string, entry: Entry): void {
    if (entry.idleTimer !== null) clearTimeout(entry.idleTimer);
    if (this.#entries.get(sourceId) === entry) this.#entries.delete(sourceId);
    entry.stale = true;
    if (entry.users === 0) this.#closeSource(entry);
  }

  #closeSource(entry: Entry): void {
    const closing = entry.pooled.source.close().catch(() => undefined);
    this.#closing.add(closing);
    void closing.then(() => this.#closing.delete(closing));
  }

  async #connectionString(sourceId: string): Promise<string> {
    const connection = await getSourceConnection(this.#options.control, sourceId);
    if (connection === null) throw notConfigured(sourceId, "The source has no connection.");
    if (connection.kind === "reference") return this.#options.resolveSecret(connection.reference);
    try {
      return openSecret(connection.sealed, this.#options.secretKey);
    } catch (error) {
      if (!(error instanceof SealedSecretError)) throw error;
      throw notConfigured(sourceId, "The source's sealed connection can't be opened with this worker's key.");
    }
  }
}

function tell(breaker: Breaker, error: unknown): void {
  if (isUnreachable(error)) breaker.failed();
  else if (error instanceof RecoveryError && error.code.startsWith("source_")) breaker.succeeded();
}

function isUnreachable(error: unknown): boolean {
  return error instanceof RecoveryError && error.code === "source_unreachable";
}

function resting(sourceId: string): RecoveryError {
  return new RecoveryError("source_unreachable", "The source failed again and again; it is given a rest.", {
    sourceId,
    hint: "Look at the source; it is asked again by itself within a minute or so.",
  });
}

function parsed<T>(sourceId: string, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (!result.success) throw notConfigured(sourceId, "The source's tenancy or rules are malformed.");
  return result.data;
}

function notConfigured(sourceId: string, message: string): RecoveryError {
  return new RecoveryError("source_not_configured", message, {
    sourceId,
    hint: "Register the source's connection again; ROWBACK_SECRET_KEY must be the same for API and workers.",
  });
}
