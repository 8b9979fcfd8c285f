import type { Taken } from "../archive/lane-writer.ts";
import { copyOut, type RowTaker } from "../backup/copy-out.ts";
import type { SourceClient } from "../postgres/source.ts";

const COPY_DATA = 0x64;
/** A message's type byte and length, which counts itself but not the type. */
const HEADER = 5;
const NOTHING = Buffer.alloc(0);

/**
 * Hands over the rows of a query as COPY text, straight off the socket, in chunks cut anywhere that are valid during the call: at millions
 * of rows a Readable of small buffers costs more than hashing them.
 */
export function readRows(client: SourceClient, query: string, onText: (text: Buffer) => void): Promise<void> {
  const statement = { sql: `COPY (${query}) TO STDOUT`, began: () => {}, ended: () => {} };
  return copyOut(client, new TextTaker(onText), [statement]);
}

/** Takes COPY text out of CopyData messages (PostgreSQL manual, "Message Formats"), which may begin and end anywhere in a chunk. */
export class TextTaker implements RowTaker {
  readonly #onText: (text: Buffer) => void;
  /** Bytes of the present message that have not come yet. */
  #left = 0;
  /** Of a message's header, what has come. */
  #begun: Buffer = NOTHING;
  #rest: Buffer = NOTHING;

  constructor(onText: (text: Buffer) => void) {
    this.#onText = onText;
  }

  take(chunk: Buffer): Taken {
    const bytes = this.#begun.length === 0 ? chunk : Buffer.concat([this.#begun, chunk]);
    this.#begun = NOTHING;
    // Rows move together over the headers between them, within the chunk: one call for all of them instead of one for each.
    let text = 0;
    let at = 0;
    let taken: Taken = "all";
    while (at < bytes.length) {
      if (this.#left > 0) {
        const end = Math.min(at + this.#left, bytes.length);
        bytes.copyWithin(text, at, end);
        text += end - at;
        this.#left -= end - at;
        at = end;
      } else if (bytes[at] !== COPY_DATA) {
        this.#rest = bytes.subarray(at);
        taken = "other_message";
        break;
      } else if (bytes.length - at < HEADER) {
        this.#begun = Buffer.from(bytes.subarray(at));
        break;
      } else {
        this.#left = bytes.readUInt32BE(at + 1) - 4;
        at += HEADER;
      }
    }
    if (text > 0) this.#onText(bytes.subarray(0, text));
    return taken;
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
