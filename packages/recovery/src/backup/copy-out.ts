import type { Connection, DatabaseError, Submittable } from "pg";
import type { LaneWriter } from "../archive/lane-writer.ts";
import { RecoveryError } from "../errors.ts";
import type { SourceClient } from "../postgres/source.ts";

/** Backend messages by their type byte (PostgreSQL manual, "Message Formats"). */
const COPY_DONE = 0x63;
const COPY_OUT_RESPONSE = 0x48;
const NOTICE_RESPONSE = 0x4e;
const PARAMETER_STATUS = 0x53;
const NOTIFICATION_RESPONSE = 0x41;
const PASSED_OVER: readonly number[] = [COPY_OUT_RESPONSE, NOTICE_RESPONSE, PARAMETER_STATUS, NOTIFICATION_RESPONSE];

/** A message's type byte and length. */
const HEADER = 5;

/**
 * Runs one `COPY … TO STDOUT` and hands the server's messages to the lane as they come off the socket; the socket rests while the lane
 * is busy. Resolves with the number of rows the server says it sent.
 *
 * pg-copy-streams would hand over rows through a Readable; that costs one JavaScript call and one small buffer for each message,
 * which at millions of rows is more than compressing them.
 *
 * When it rejects, the connection may be in the middle of the COPY and must be destroyed, as `Source.connect` does.
 */
export function copyOut(client: SourceClient, sql: string, lane: LaneWriter): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  client.query(new CopyOut(sql, lane, resolve, reject));
  return promise;
}

class CopyOut implements Submittable {
  readonly #sql: string;
  readonly #lane: LaneWriter;
  readonly #resolve: (rows: number) => void;
  readonly #reject: (error: unknown) => void;
  #rows: number | null = null;
  /** Gives the socket back to pg, with the bytes that are pg's to parse. */
  #giveBack: ((bytes: Buffer) => void) | null = null;
  /** The beginning of a message that is not all there yet. */
  #begun: Buffer | null = null;
  #pause: () => void = () => {};
  #resume: () => void = () => {};

  constructor(sql: string, lane: LaneWriter, resolve: (rows: number) => void, reject: (error: unknown) => void) {
    this.#sql = sql;
    this.#lane = lane;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** pg calls this when it is this query's turn. */
  submit(connection: Connection): void {
    const { stream } = connection;
    const parsers = stream.listeners("data");
    const onData = (chunk: Buffer): void => this.#guard(() => this.#receive(chunk));
    for (const parser of parsers) stream.removeListener("data", parser as (chunk: Buffer) => void);
    stream.on("data", onData);
    this.#pause = () => void stream.pause();
    this.#resume = () => void stream.resume();
    this.#giveBack = (bytes) => {
      stream.removeListener("data", onData);
      for (const parser of parsers) stream.on("data", parser as (chunk: Buffer) => void);
      stream.resume();
      if (bytes.length > 0) stream.emit("data", bytes);
    };
    connection.query(this.#sql);
  }

  /** pg calls this for the server's errors, and when the connection is lost. */
  handleError(error: DatabaseError | Error): void {
    this.#return(Buffer.alloc(0));
    this.#reject(error);
  }

  handleCommandComplete(message: { readonly text: string }): void {
    this.#rows = Number(/^COPY (\d+)$/.exec(message.text)?.[1] ?? Number.NaN);
  }

  handleReadyForQuery(): void {
    if (this.#rows === null || Number.isNaN(this.#rows)) {
      this.#reject(new RecoveryError("source_error", "The source answered a COPY with something else"));
    } else {
      this.#resolve(this.#rows);
    }
  }

  #receive(chunk: Buffer): void {
    const bytes = this.#begun === null ? chunk : Buffer.concat([this.#begun, chunk]);
    const first = this.#begun?.[0];
    this.#begun = null;
    if (first === undefined) this.#taken(this.#lane.take(bytes));
    else this.#pass(bytes);
  }

  #taken(taken: ReturnType<LaneWriter["take"]>): void {
    if (taken === "other_message") this.#pass(this.#lane.rest());
    if (taken === "busy") {
      this.#pause();
      this.#lane.ready().then(() => this.#guard(() => this.#goOn()));
    }
  }

  #goOn(): void {
    this.#resume();
    this.#taken(this.#lane.proceed());
  }

  /** Bytes that begin with a message that holds no row. */
  #pass(bytes: Buffer): void {
    const type = bytes[0] ?? COPY_DONE;
    if (type !== COPY_DONE && !PASSED_OVER.includes(type)) {
      this.#return(bytes);
      return;
    }
    const end = bytes.length < HEADER ? Number.POSITIVE_INFINITY : 1 + bytes.readUInt32BE(1);
    if (bytes.length < end) {
      this.#begun = bytes;
    } else if (type === COPY_DONE) {
      this.#return(bytes.subarray(end));
    } else {
      this.#taken(this.#lane.take(bytes.subarray(end)));
    }
  }

  #return(bytes: Buffer): void {
    const giveBack = this.#giveBack;
    this.#giveBack = null;
    giveBack?.(bytes);
  }

  /** What the lane throws ends this COPY; the socket stays still until the connection is destroyed. */
  #guard(step: () => void): void {
    if (this.#giveBack === null) return;
    try {
      step();
    } catch (error) {
      this.#pause();
      this.#reject(error);
    }
  }
}
