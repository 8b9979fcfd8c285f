import type { Connection } from "pg";
import { divertReads } from "./read-socket.ts";

/**
 * How long bytes gather once little was there. A server that sends a few hundred bytes with each commit wakes whoever waits for them
 * thousands of times a second, and each of its sends costs it about twice as much while somebody waits (docs/decisions/0075-reading-in-bursts.md).
 */
const GATHER_MS = 100;
/**
 * So much at once is not waited for. A receive window begins at about 64 KiB, and a server that filled it stands still until somebody
 * reads: waiting would limit how fast a backlog is read.
 */
const FULL_BURST_BYTES = 49_152;

/** A socket that is read in bursts. */
export interface BurstReads {
  /** Reads no more until `release`. */
  hold(): void;
  release(): void;
  /** Gives bytes to those who listened before. */
  handOn(bytes: Uint8Array): void;
  /** For when the socket is destroyed. */
  stop(): void;
}

/** Gives what comes off the socket to `reader`, which keeps nothing of it; the less comes, the more of it at a time. */
export function readInBursts(stream: Connection["stream"], reader: (bytes: Buffer) => void): BurstReads {
  const reads = divertReads(stream, take);
  let burst = 0;
  let turn: NodeJS.Immediate | null = null;
  let gathering: NodeJS.Timeout | null = null;
  let held = false;

  function take(bytes: Buffer): void {
    burst += bytes.length;
    // A turn of the event loop reads all that is there, of TLS one record after the other.
    turn ??= setImmediate(gather);
    reader(bytes);
  }

  function gather(): void {
    turn = null;
    const ms = Math.round(GATHER_MS * (1 - burst / FULL_BURST_BYTES));
    burst = 0;
    if (ms <= 0) return;
    reads.pause();
    gathering ??= setTimeout(goOn, ms);
  }

  function goOn(): void {
    gathering = null;
    if (!held) reads.resume();
  }

  return {
    hold() {
      held = true;
      reads.pause();
    },
    release() {
      held = false;
      if (gathering === null) reads.resume();
    },
    handOn: reads.handOn,
    stop() {
      if (turn !== null) clearImmediate(turn);
      if (gathering !== null) clearTimeout(gathering);
    },
  };
}
