import type { Taken } from "../archive/lane-writer.ts";
import { copyOut, type RowTaker } from "../backup/copy-out.ts";
import type { SourceClient } from "../postgres/source.ts";
import type { RowSieve } from "./row-sieve.ts";

const COPY_DATA = 0x64;
/** A message's type byte and length, which counts itself but not the type. */
const HEADER = 5;
const NOTHING = Buffer.alloc(0);

/**
 * Sums up the rows of a query, straight off the socket: at millions of rows a Readable of small buffers costs more than hashing them.
 * `onRead` hears, often, of the rows and bytes so far.
 */
export function copyToSieve(
  client: SourceClient,
  query: string,
  sieve: RowSieve,
  onRead: (rows: number, bytes: number) => void,
): Promise<void> {
  const statement = { sql: `COPY (${query}) TO STDOUT`, began: () => {}, ended: () => {} };
  return copyOut(client, new SieveTaker(sieve, onRead), [statement]);
}

/** Takes COPY text out of CopyData messages (PostgreSQL manual, "Message Formats"), which may begin and end anywhere in a chunk. */
class SieveTaker implements RowTaker {
  readonly #sieve: RowSieve;
  readonly #onRead: (rows: number, bytes: number) => void;
  #bytes = 0;
  /** Bytes of the present message that have not come yet. */
  #left = 0;
  /** Of a message's header, what has come. */
  #begun: Buffer = NOTHING;
  #rest: Buffer = NOTHING;

  constructor(sieve: RowSieve, onRead: (rows: number, bytes: number) => void) {
    this.#sieve = sieve;
    this.#onRead = onRead;
  }

  take(chunk: Buffer): Taken {
    const taken = this.#take(chunk);
    this.#onRead(this.#sieve.rows, this.#bytes);
    return taken;
  }

  #take(chunk: Buffer): Taken {
    const bytes = this.#begun.length === 0 ? chunk : Buffer.concat([this.#begun, chunk]);
    this.#begun = NOTHING;
    let at = 0;
    while (at < bytes.length) {
      if (this.#left > 0) {
        const end = Math.min(at + this.#left, bytes.length);
        this.#sieve.add(bytes, at, end);
        this.#left -= end - at;
        this.#bytes += end - at;
        at = end;
      } else if (bytes[at] !== COPY_DATA) {
        this.#rest = bytes.subarray(at);
        return "other_message";
      } else if (bytes.length - at < HEADER) {
        this.#begun = Buffer.from(bytes.subarray(at));
        return "all";
      } else {
        this.#left = bytes.readUInt32BE(at + 1) - 4;
        at += HEADER;
      }
    }
    return "all";
  }

  proceed(): Taken {
    return "all";
  }

  rest(): Buffer {
    const rest = this.#rest;
    this.#rest = NOTHING;
    return rest;
  }

  ready(): Promise<void> {
    return Promise.resolve();
  }
}
