import type { Connection, DatabaseError, Submittable } from "pg";
import type { Taken } from "../archive/lane-writer.ts";
import { RecoveryError } from "../errors.ts";
import { type DivertedReads, divertReads } from "../postgres/read-socket.ts";
import type { SourceClient } from "../postgres/source.ts";

/** Takes the server's messages as they come off the socket; a backup's lane, or whoever wants rows fast. */
export interface RowTaker {
  /** The next bytes from the server; they may change when all of them were taken. */
  take(chunk: Buffer): Taken;
  /** Goes on with what `take` left. */
  proceed(): Taken;
  /** What was not taken when `other_message` was returned; it begins with that message. Taken from here, it is gone. */
  rest(): Buffer;
  /** Resolves when `proceed` can do something after `busy`. */
  ready(): Promise<void>;
}

/** One `COPY … TO STDOUT`, and who hears of it. What `began` and `ended` throw ends everything. */
export interface CopyStatement {
  readonly sql: string;
  /** The server is about to send rows. */
  began(): void;
  /** The server has sent so many rows, and the lane has taken them. */
  ended(rows: number): void;
}

/**
 * Runs these statements in one round trip, in order, and hands the server's rows to the lane as they come off the socket; the socket
 * rests while the lane is busy.
 *
 * pg-copy-streams would hand over rows through a Readable; that costs one JavaScript call and one small buffer for each message,
 * which at millions of rows is more than compressing them. And it takes one statement at a time: for a small tenant, whose dozen tables
 * take less time than a dozen round trips, that is most of the work.
 *
 * When it rejects, the connection may be in the middle of a COPY and must be destroyed, as `Source.connect` does.
 */
export function copyOut(client: SourceClient, lane: RowTaker, statements: readonly CopyStatement[]): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  client.query(new CopyOut(lane, statements, { resolve, reject }));
  return promise;
}

/** Backend messages by their type byte (PostgreSQL manual, "Message Formats"); those that do not occur here are pg's to parse. */
const MESSAGE = {
  commandComplete: 0x43,
  copyDone: 0x63,
  copyOutResponse: 0x48,
  noticeResponse: 0x4e,
  notificationResponse: 0x41,
  parameterStatus: 0x53,
} as const;
const OURS: readonly number[] = Object.values(MESSAGE);

/** A message's type byte and length. */
const HEADER = 5;

interface Outcome {
  resolve(): void;
  reject(error: unknown): void;
}

class CopyOut implements Submittable {
  readonly #lane: RowTaker;
  readonly #statements: readonly CopyStatement[];
  readonly #promise: Outcome;
  /** How many statements have ended. */
  #ended = 0;
  #inCopy = false;
  /** The beginning of a message that is not all there yet, and holds no row. */
  #begun: Buffer | null = null;
  /** The socket, while it is ours. */
  #socket: DivertedReads | null = null;

  constructor(lane: RowTaker, statements: readonly CopyStatement[], promise: Outcome) {
    this.#lane = lane;
    this.#statements = statements;
    this.#promise = promise;
  }

  /** pg calls this when it is this query's turn. */
  submit(connection: Connection): void {
    this.#socket = divertReads(connection.stream, (chunk) => this.#guard(() => this.#receive(chunk)));
    connection.query(this.#statements.map(({ sql }) => sql).join(";\n"));
  }

  /** pg calls this for the server's errors, and when the connection is lost. */
  handleError(error: DatabaseError | Error): void {
    this.#return(Buffer.alloc(0));
    this.#promise.reject(error);
  }

  /** pg calls this when the server is done with all statements. */
  handleReadyForQuery(): void {
    if (this.#ended === this.#statements.length) this.#promise.resolve();
    else this.#promise.reject(new RecoveryError("source_error", "The source answered a COPY with something else"));
  }

  #receive(chunk: Buffer): void {
    if (this.#inCopy && this.#begun === null) {
      this.#taken(this.#lane.take(chunk));
    } else {
      const bytes = this.#begun === null ? chunk : Buffer.concat([this.#begun, chunk]);
      this.#begun = null;
      this.#pass(bytes);
    }
  }

  #taken(taken: Taken): void {
    if (taken === "other_message") this.#pass(this.#lane.rest());
    if (taken === "busy") {
      this.#socket?.pause();
      this.#lane.ready().then(() => this.#guard(() => this.#goOn()));
    }
  }

  #goOn(): void {
    this.#socket?.resume();
    this.#taken(this.#lane.proceed());
  }

  /** Bytes that begin with a message that holds no row. */
  #pass(bytes: Buffer): void {
    let rest = bytes;
    while (rest.length > 0) {
      const end = rest.length < HEADER ? Number.POSITIVE_INFINITY : 1 + rest.readUInt32BE(1);
      if (!OURS.includes(rest[0] ?? 0)) {
        this.#return(rest);
        return;
      }
      if (rest.length < end) {
        this.#begun = Buffer.from(rest);
        return;
      }
      this.#message(rest.subarray(0, end));
      rest = rest.subarray(end);
      if (this.#inCopy) {
        this.#taken(this.#lane.take(rest));
        return;
      }
    }
  }

  #message(message: Buffer): void {
    const statement = this.#statements[this.#ended];
    switch (message[0]) {
      case MESSAGE.copyOutResponse:
        this.#inCopy = true;
        statement?.began();
        break;
      case MESSAGE.copyDone:
        this.#inCopy = false;
        break;
      case MESSAGE.commandComplete:
        this.#ended += 1;
        statement?.ended(Number(/^COPY (\d+)\0$/.exec(message.toString("latin1", HEADER))?.[1]));
        break;
    }
  }

  #return(bytes: Buffer): void {
    const socket = this.#socket;
    this.#socket = null;
    socket?.giveBack(bytes);
  }

  /** What the lane throws ends this COPY; the socket stays still until the connection is destroyed. */
  #guard(step: () => void): void {
    if (this.#socket === null) return;
    try {
      step();
    } catch (error) {
      this.#socket?.pause();
      this.#promise.reject(error);
    }
  }
}
