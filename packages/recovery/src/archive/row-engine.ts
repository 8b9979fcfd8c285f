import { readFileSync } from "node:fs";

const PAGE = 65_536;
/** A block's most COPY text (docs/FORMAT.md), and so the size of a slot. */
export const BLOCK_BYTES = 1_048_576;
/** Bytes that `RowEngine.input` holds: what a socket delivers at once, and the few left over from before. */
export const INPUT_BYTES = 2 * PAGE;

/** Blocks of one lane that may be filling, compressing or waiting for the store at once. */
const SLOTS = 6;

const compiled = new WebAssembly.Module(readFileSync(new URL("./row-engine.wasm", import.meta.url)));

/** Why `take` returned. */
export type Stop = "input_used_up" | "block_full" | "other_message" | "row_without_newline";
const STOPS: readonly Stop[] = ["input_used_up", "block_full", "other_message", "row_without_newline"];

/** What row-engine.wat exports. */
interface Exports {
  take(at: number, end: number, limit: number): number;
  count_rows(at: number, end: number): number;
  readonly sum: WebAssembly.Global<"i64">;
  readonly rows: WebAssembly.Global<"i32">;
  readonly out: WebAssembly.Global<"i32">;
  readonly left: WebAssembly.Global<"i32">;
  readonly stop: WebAssembly.Global<"i32">;
}

/** Engines that are not in use, for the next backup: making 6 MiB of zeroed memory costs more than a small tenant's rows. */
const idle: RowEngine[] = [];
/** Engines without slots: a restore sums up every table several times, and V8 collects all garbage for WebAssembly memories that pile up. */
const idleCounters: RowEngine[] = [];
/** More than a worker's usual number of backups at once is not worth keeping. */
const MOST_IDLE = 8;

/** An engine with SLOTS slots. Give it back with `giveEngine` when nothing can touch its memory any more, else forget it. */
export function takeEngine(): RowEngine {
  return idle.pop() ?? new RowEngine(SLOTS);
}

export function giveEngine(engine: RowEngine): void {
  if (idle.length < MOST_IDLE) idle.push(engine);
}

/** An engine that only counts and hashes. */
export function takeCounter(): RowEngine {
  return idleCounters.pop() ?? new RowEngine(0);
}

/** For the next one. Only between two rows. */
export function giveCounter(engine: RowEngine): void {
  engine.reset();
  if (idleCounters.length < MOST_IDLE) idleCounters.push(engine);
}

/**
 * One instance of row-engine.wat with its memory: an input area, then `slots` areas of one block each. The memory never grows,
 * so views into it stay valid, and a block can be compressed right where it was assembled.
 */
export class RowEngine {
  readonly input: Uint8Array;
  readonly slots: readonly Uint8Array[];
  readonly #exports: Exports;

  constructor(slots: number) {
    const pages = (INPUT_BYTES + slots * BLOCK_BYTES) / PAGE;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.input = new Uint8Array(memory.buffer, 0, INPUT_BYTES);
    this.slots = Array.from({ length: slots }, (_, slot) => {
      return new Uint8Array(memory.buffer, INPUT_BYTES + slot * BLOCK_BYTES, BLOCK_BYTES);
    });
    this.#exports = instantiate(memory);
  }

  /** Begins a new sum and count; `take` goes on in its slot. Only between two rows. */
  reset(): void {
    this.#exports.sum.value = 0n;
    this.#exports.rows.value = 0;
    this.#exports.left.value = 0;
  }

  /** `take` goes on at the beginning of this slot; sum and count go on too. Only between two rows. */
  useSlot(slot: number): void {
    this.#exports.out.value = slotStart(slot);
  }

  /** Bytes of rows in the slot that `take` writes to, a begun row included. */
  filled(slot: number): number {
    return this.#exports.out.value - slotStart(slot);
  }

  /** Takes rows out of CopyData messages in `input[at … end)` into the slot. Says how far it came, and why not farther. */
  take(at: number, end: number, slot: number): { readonly at: number; readonly stop: Stop } {
    const reached = this.#exports.take(at, end, slotStart(slot) + BLOCK_BYTES);
    return { at: reached, stop: STOPS[this.#exports.stop.value] ?? "row_without_newline" };
  }

  /** Counts and hashes the rows that end in `input[0 … end)`; returns where the last of them ended. */
  countRows(end: number): number {
    return this.#exports.count_rows(0, end);
  }

  /** The sum modulo 2^64 of the hashes of all rows so far. */
  get sum(): bigint {
    return BigInt.asUintN(64, this.#exports.sum.value);
  }

  /** Rows since `takeRowCount` was last called; call it at least once a block, it counts to 2^32. */
  takeRowCount(): number {
    const rows = this.#exports.rows.value >>> 0;
    this.#exports.rows.value = 0;
    return rows;
  }
}

function slotStart(slot: number): number {
  return INPUT_BYTES + slot * BLOCK_BYTES;
}

/** The one place where the binary's exports get their types; row-engine.test.ts holds the binary to them. */
function instantiate(memory: WebAssembly.Memory): Exports {
  const { exports } = new WebAssembly.Instance(compiled, { host: { memory } });
  if (!isEngine(exports)) throw new TypeError("row-engine.wasm does not export what row-engine.ts expects");
  return exports;
}

function isEngine(exports: object): exports is Exports {
  const globals = ["sum", "rows", "out", "left", "stop"];
  return (
    globals.every((name) => Reflect.get(exports, name) instanceof WebAssembly.Global) &&
    ["take", "count_rows"].every((name) => typeof Reflect.get(exports, name) === "function")
  );
}
