import type pg from "pg";
import { z } from "zod";
import { type BurstReads, readInBursts } from "../../postgres/burst-reads.ts";
import { ServerMessages } from "../../postgres/server-messages.ts";
import { applySessionSettings } from "../../postgres/session-settings.ts";
import type { Source } from "../../postgres/source.ts";
import { toRecoveryError } from "../../postgres/source-error.ts";
import { OLDEST_SERVER_WITH_MESSAGES } from "./ddl-trigger.ts";
import { lsnForServer, microsFromServer } from "./wal-position.ts";

/** How far the server had read its WAL, by its own clock: every transaction whose commit stands below has been sent. */
export interface ServerPosition {
  readonly lsn: bigint;
  /** Microseconds since 1970. */
  readonly at: bigint;
}

/** What arrived since the last time somebody asked. */
export interface Batch {
  /** Raw messages of pgoutput, in order; good for as long as somebody holds them. */
  readonly messages: readonly Buffer[];
  /** The last that the server said of itself behind these messages; null when it said nothing. */
  readonly position: ServerPosition | null;
}

export interface StreamOptions {
  readonly slotName: string;
  readonly publicationName: string;
  /** Where to go on: 16 hexadecimal digits. The server begins at the slot's own position if that is later. */
  readonly startLsn: string;
  readonly signal: AbortSignal;
}

/** Bytes that may wait for a slower reader before the socket is left to fill. */
const WAITING_BYTES = 4 * 1_048_576;
/**
 * How often the server hears of us. A server that hears nothing for `wal_sender_timeout` (60 s, often set to 10) ends the connection,
 * and it must not do so while the object store hangs: so this goes on by a timer, whatever the reader waits for.
 */
const STATUS_EVERY_MS = 2_000;

const XLOG_DATA = 0x77; // w
const KEEPALIVE = 0x6b; // k
const XLOG_HEADER_BYTES = 25;

/**
 * The changes of a replication slot, over PostgreSQL's streaming replication protocol (manual, "Streaming Replication Protocol"; why
 * without a library: docs/decisions/0051-replication-protocol.md).
 */
export class ReplicationStream {
  readonly #client: pg.Client;
  readonly #source: Source;
  readonly #signal: AbortSignal;
  readonly #statusTimer: NodeJS.Timeout;
  #messages: Buffer[] = [];
  #waitingBytes = 0;
  #position: ServerPosition | null = null;
  #durable = 0n;
  #reads: BurstReads | null = null;
  #held = false;
  #closed = false;
  #failure: { readonly error: unknown } | null = null;
  #wake: () => void = () => {};
  readonly #onAbort = (): void => this.#fail(this.#signal.reason);

  /**
   * Connects and starts the slot. Throws RecoveryError: `source_*`; `source_error` or `source_conflict` where the slot is in use or lost.
   */
  static async open(source: Source, options: StreamOptions): Promise<ReplicationStream> {
    const client = source.replicationClient();
    const stream = new ReplicationStream(source, client, options.signal);
    try {
      await client.connect();
      await client.query(applySessionSettings("session"));
      await stream.#start(options);
      return stream;
    } catch (error) {
      await stream.close();
      throw stream.#classified(error);
    }
  }

  private constructor(source: Source, client: pg.Client, signal: AbortSignal) {
    this.#source = source;
    this.#client = client;
    this.#signal = signal;
    client.on("error", (error) => this.#fail(error));
    client.on("end", () => this.#fail(new ConnectionEnded()));
    signal.addEventListener("abort", this.#onAbort, { once: true });
    this.#statusTimer = setInterval(() => this.#sendStatus(), STATUS_EVERY_MS);
  }

  /**
   * Everything that arrived, as soon as there is something, or after `waitMs` milliseconds.
   * Throws RecoveryError when the connection or the slot is lost, or the signal aborts.
   */
  async next(waitMs: number): Promise<Batch> {
    if (this.#messages.length === 0 && this.#position === null && this.#failure === null) await this.#something(waitMs);
    // What arrived before the end is good; the end is told next time.
    if (this.#failure !== null && this.#messages.length === 0) throw this.#classified(this.#failure.error);
    const batch = { messages: this.#messages, position: this.#position };
    this.#messages = [];
    this.#position = null;
    this.#waitingBytes = 0;
    if (this.#held) {
      this.#held = false;
      this.#reads?.release();
    }
    return batch;
  }

  /** Everything that ends at or before this position is durable: the server may forget it. Never goes back. */
  acknowledge(lsn: bigint): void {
    if (lsn <= this.#durable) return;
    this.#durable = lsn;
    this.#sendStatus();
  }

  /** Lets go of the slot. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#statusTimer);
    this.#reads?.stop();
    this.#signal.removeEventListener("abort", this.#onAbort);
    // Not `end()`: it would wait behind a server that is busy decoding a large transaction. The server looks at a cut socket itself.
    const { stream } = this.#client.connection;
    const gone = new Promise<void>((resolve) => stream.once("close", () => resolve()));
    const wasOpen = !stream.destroyed;
    stream.destroy();
    if (wasOpen) await gone;
  }

  async #start({ slotName, publicationName, startLsn }: StreamOptions): Promise<void> {
    const { connection } = this.#client;
    const started = Promise.withResolvers<void>();
    connection.once("replicationStart", () => started.resolve());
    const logical = (await this.#serverVersion()) >= OLDEST_SERVER_WITH_MESSAGES ? ", messages 'true'" : "";
    const messages = new ServerMessages({
      copyData: (payload) => this.#receive(payload),
      // The answer to the command, notices, and how it ends.
      other: (message) => this.#reads?.handOn(message),
    });
    this.#reads = readInBursts(connection.stream, (bytes) => {
      messages.take(bytes);
      this.#wake();
    });
    const names = this.#client.escapeLiteral(this.#client.escapeIdentifier(publicationName));
    // Resolves when the stream ends, rejects when it can't begin or breaks.
    this.#client
      .query(
        `START_REPLICATION SLOT ${this.#client.escapeIdentifier(slotName)} LOGICAL ${lsnForServer(startLsn)} (proto_version '1', publication_names ${names}${logical})`,
      )
      .then(
        () => this.#fail(new ConnectionEnded()),
        (error: unknown) => {
          started.reject(error);
          this.#fail(error);
        },
      );
    await started.promise;
  }

  async #serverVersion(): Promise<number> {
    const { rows } = await this.#client.query("SHOW server_version_num");
    return z.tuple([z.object({ server_version_num: z.coerce.number() })]).parse(rows)[0].server_version_num;
  }

  #receive(payload: Buffer): void {
    if (payload[0] === XLOG_DATA) {
      this.#keep(payload.subarray(XLOG_HEADER_BYTES));
      // It speaks of what stood before this message.
      this.#position = null;
    } else if (payload[0] === KEEPALIVE) {
      this.#position = { lsn: payload.readBigUInt64BE(1), at: microsFromServer(payload.readBigInt64BE(9)) };
      if (payload[17] === 1) this.#sendStatus();
    }
  }

  #keep(message: Buffer): void {
    this.#messages.push(message);
    this.#waitingBytes += message.length;
    if (this.#waitingBytes > WAITING_BYTES && !this.#held) {
      this.#held = true;
      this.#reads?.hold();
    }
  }

  #sendStatus(): void {
    if (this.#closed || this.#failure !== null || this.#durable === 0n) return;
    this.#client.connection.stream.write(standbyStatus(this.#durable));
  }

  async #something(waitMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, waitMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => {};
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake();
  }

  #classified(error: unknown): unknown {
    const connectionLost = error instanceof ConnectionEnded;
    return toRecoveryError(error, { sourceId: this.#source.id, signal: this.#signal, connectionLost });
  }
}

/** CopyData with a standby status update: written, flushed and applied up to here. */
function standbyStatus(lsn: bigint): Buffer {
  const message = Buffer.alloc(39);
  message.write("d");
  message.writeUInt32BE(38, 1);
  message.write("r", 5);
  for (const at of [6, 14, 22]) message.writeBigUInt64BE(lsn, at);
  // Our clock, at 30, is left at 0: the server only shows it. The last byte asks for an answer: an idle server tells in it how far it has read.
  message[38] = 1;
  return message;
}

class ConnectionEnded extends Error {
  override readonly name = "ConnectionEnded";
}
