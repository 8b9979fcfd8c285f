import { Socket } from "node:net";
import type { Connection } from "pg";

/** A socket of a source's connection. */
type Stream = Connection["stream"];
type Reader = (bytes: Buffer) => void;

/** What is read at a time: twice what node asks for, so half as many turns of the event loop. */
const READ_BYTES = 131_072;

/** Who takes the bytes of a socket of `openReadSocket` in place of its `data` listeners. */
const diverted = new WeakMap<object, Reader>();

/**
 * A socket that reads into the same buffer again and again. Node's own gives out a new 64 KiB for every read; at a gigabyte of rows
 * V8 then collects garbage for a fifth of a backup's processor time. Whoever reads it as a stream gets copies, `divertReads` the buffer itself.
 */
export function openReadSocket(): Socket {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  const socket: Socket = new Socket({
    onread: {
      buffer,
      callback(bytes) {
        const read = buffer.subarray(0, bytes);
        const reader = diverted.get(socket);
        // As node does with what it reads: pg listens, pg-copy-streams takes from the buffer, and either may hold it back.
        if (reader === undefined) return socket.push(Buffer.from(read));
        reader(read);
        return true;
      },
    },
  });
  return socket;
}

/** Reads taken away from whoever listens to a socket. */
export interface DivertedReads {
  pause(): void;
  resume(): void;
  /** Gives the listeners bytes of their own. */
  handOn(bytes: Uint8Array): void;
  /** Ends it: the listeners go on, with these bytes first. */
  giveBack(bytes: Uint8Array): void;
}

/** Gives all that comes off the socket to `reader`; the bytes may change once it has returned, unless it paused the socket. */
export function divertReads(stream: Stream, reader: Reader): DivertedReads {
  // Node's types know listeners only as functions; those of `data` are pg's parser.
  const parsers = stream.listeners("data") as Reader[];
  stream.removeAllListeners("data");
  // Without a listener a stream does not flow, also not one that diverts.
  stream.on("data", reader);
  diverted.set(stream, reader);
  // The parser keeps what it can't use yet.
  const handOn = (bytes: Uint8Array): void => {
    for (const parser of parsers) parser.call(stream, Buffer.from(bytes));
  };
  return {
    pause: () => void stream.pause(),
    resume: () => void stream.resume(),
    handOn,
    giveBack(bytes) {
      diverted.delete(stream);
      stream.removeListener("data", reader);
      for (const parser of parsers) stream.on("data", parser);
      if (bytes.length > 0) handOn(bytes);
      stream.resume();
    },
  };
}
