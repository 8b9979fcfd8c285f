import type { Progress, TableProgress } from "../verb-context.ts";
import type { ComparedTable } from "./drift.ts";

/** Comparing reads everything there is; what comes after is short, but for reading the changed tables once more. */
const BEGINS_AT = { comparing: 0, checking: 0.8, applying: 0.82, verifying: 0.85 } as const;
type Phase = keyof typeof BEGINS_AT;

/** Of comparing a table: reading its live rows. The rest is reading the archive, where they differ. */
const READING_SHARE = 0.6;
/** Small tables cost a few round trips too. */
const LEAST_WEIGHT = 8_192;
/** Whoever reads tells of every chunk; this many bytes are worth a report. */
const STEP_BYTES = 1_048_576;

type Known = Pick<ComparedTable, "label"> & { readonly archived: { readonly rawBytes: number } };

/** How far a restore has come: by table the live rows and bytes that were read, overall a share by the archive's bytes. */
export class RestoreProgress {
  readonly #report: ((progress: Progress) => void) | undefined;
  readonly #weights: ReadonlyMap<string, number>;
  readonly #total: number;
  readonly #seen: Map<string, TableProgress>;
  #phase: Phase = "comparing";
  #reached = 0;
  #toldAt = 0;

  constructor(tables: readonly Known[], report: ((progress: Progress) => void) | undefined) {
    this.#report = report;
    this.#weights = new Map(tables.map(({ label, archived }) => [label, Math.max(archived.rawBytes, LEAST_WEIGHT)]));
    this.#total = [...this.#weights.values()].reduce((sum, weight) => sum + weight, 0);
    this.#seen = new Map(tables.map(({ label }) => [label, { table: label, rows: 0, bytes: 0, done: false }]));
  }

  /** So much of the table's live rows was read, from its first row on. */
  reading({ label, archived }: Known, rows: number, bytes: number): void {
    this.#seen.set(label, { table: label, rows, bytes, done: false });
    if (bytes < this.#toldAt + STEP_BYTES) return;
    this.#toldAt = bytes;
    const read = Math.min(1, bytes / Math.max(archived.rawBytes, LEAST_WEIGHT));
    this.#tell(this.#reached + (this.#weights.get(label) ?? 0) * read * READING_SHARE);
  }

  /** The table's difference is known. */
  compared({ label }: Known): void {
    const seen = this.#seen.get(label);
    if (seen !== undefined) this.#seen.set(label, { ...seen, done: true });
    this.#toldAt = 0;
    this.#reached += this.#weights.get(label) ?? 0;
    this.#tell(this.#reached);
  }

  /** `part` of the phase, 0 … 1, is done. */
  enter(phase: Exclude<Phase, "comparing">, part = 0): void {
    this.#phase = phase;
    const begins = BEGINS_AT[phase];
    this.#send(phase === "verifying" ? begins + part * (1 - begins) : begins);
  }

  #tell(reached: number): void {
    this.#send(this.#total === 0 ? BEGINS_AT.checking : (reached / this.#total) * BEGINS_AT.checking);
  }

  #send(share: number): void {
    this.#report?.({ phase: this.#phase, share, tables: [...this.#seen.values()] });
  }
}
