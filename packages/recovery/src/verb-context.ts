import type { ObjectStore } from "@rowback/storage";
import type { KeyRing } from "./archive/key-ring.ts";
import type { Source } from "./postgres/source.ts";

/** What Rowback says of its own work; pino's loggers fit. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** The present, as an argument: tests set it. */
export interface Clock {
  now(): Date;
}

/** How far a run has come. `share` is 0 … 1 of the expected work, by bytes where they are known. */
export interface Progress {
  readonly phase: string;
  readonly share: number;
  readonly tables: readonly TableProgress[];
}

export interface TableProgress {
  /** `schema.table` */
  readonly table: string;
  readonly rows: number;
  /** Bytes of COPY text. */
  readonly bytes: number;
  readonly done: boolean;
}

/** What every verb is given; nothing else reaches the outside. */
export interface VerbContext {
  readonly store: ObjectStore;
  readonly source: Source;
  /** Left out: no master key is set, so nothing can be encrypted, nor read that is. */
  readonly keys?: KeyRing | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** Aborts the verb: COPY, uploads and waits end within moments, and nothing half-done becomes visible. */
  readonly signal: AbortSignal;
  /** Called often; the caller throttles. */
  readonly onProgress?: (progress: Progress) => void;
}
