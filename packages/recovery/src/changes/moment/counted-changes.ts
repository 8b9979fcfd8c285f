import { UNKNOWN_FIELD } from "../log/change-lines.ts";
import {
  type AddedRow,
  damagedLog,
  type Fate,
  type FoldedChanges,
  type Pass,
  type RowChange,
  takes,
} from "./row-change.ts";

interface Tally {
  /** Rows that changes of ours brought, less those they took. */
  ours: number;
  /** Whether there was such a change: equal rows refer to the same row, so they have one owner. */
  certain: boolean;
  /** What changes of nobody known brought and took. */
  brought: number;
  taken: number;
  /** Rows of the base that have still to go, counted down as they pass. */
  inBase: number;
}

/**
 * The changes of a table whose old rows come in full (replica identity FULL): rows are a multiset, with a key or without one. Every row that
 * goes is named by all its values, so the base has to have exactly that row.
 */
export class CountedChanges implements FoldedChanges {
  readonly #table: string;
  readonly #pass: Pass;
  readonly #tallies = new Map<string, Tally>();
  #truncated = false;

  constructor(table: string, pass: Pass) {
    this.#table = table;
    this.#pass = pass;
  }

  get truncated(): boolean {
    return this.#truncated;
  }

  /** The capture knows whose a row was, and declares a gap itself. */
  readonly crossed = false;

  apply(change: RowChange): void {
    switch (change.op) {
      case "insert":
        this.#count(change.row, change.shared, 1);
        break;
      case "update": {
        const { old, row, shared } = change;
        if (old === null) throw this.#damaged("an update lacks the row before");
        this.#count(old, shared, -1);
        this.#count(row.includes(UNKNOWN_FIELD) ? filled(row, old) : row, shared, 1);
        break;
      }
      case "delete":
        this.#count(change.row, change.shared, -1);
        break;
      case "moved":
        throw this.#damaged("a row of a full identity moved from nobody knows whom");
      case "truncate":
        this.#tallies.clear();
        this.#truncated = true;
    }
  }

  meet(row: string): Fate {
    if (!takes(this.#pass, row)) return "other_pass";
    const tally = this.#tallies.get(row);
    if (tally === undefined) return "kept";
    tally.inBase += 1;
    return "gone";
  }

  /** Rows of the base that a tally speaks of come back here, as often as there are left. */
  *added(): Generator<AddedRow> {
    for (const [row, tally] of this.#tallies) {
      const claimed = tally.inBase === 0 && !tally.certain;
      const left = tally.inBase + tally.ours + tally.brought - tally.taken;
      if (left < 0 && !claimed) throw this.#damaged("a row was changed that is not there");
      for (let times = 0; times < left; times += 1) yield { row, claimed };
    }
  }

  #count(fields: readonly string[], shared: boolean, by: 1 | -1): void {
    if (fields.includes(UNKNOWN_FIELD)) throw this.#damaged("a change does not say of which row it is");
    const row = fields.join("\t");
    if (!takes(this.#pass, row)) return;
    const tally = this.#tallies.get(row) ?? { ours: 0, certain: false, brought: 0, taken: 0, inBase: 0 };
    if (!shared) {
      tally.ours += by;
      tally.certain = true;
    } else if (by === 1) tally.brought += 1;
    else tally.taken += 1;
    this.#tallies.set(row, tally);
  }

  #damaged(what: string): Error {
    return damagedLog(this.#table, what);
  }
}

function filled(row: readonly string[], old: readonly string[]): readonly string[] {
  return row.map((field, at) => (field === UNKNOWN_FIELD ? (old[at] ?? UNKNOWN_FIELD) : field));
}
