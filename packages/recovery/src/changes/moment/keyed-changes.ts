import { UNKNOWN_FIELD } from "../log/change-lines.ts";
import {
  type AddedRow,
  damagedLog,
  type Fate,
  type FoldedChanges,
  movedRow,
  type Pass,
  type RowChange,
  takes,
} from "./row-change.ts";

/** Whose a row is: ours; ours if the base has the row it comes from; ours if the row it refers to is. */
type Owner = "us" | "if_in_base" | "if_parent";

interface Standing {
  /** COPY text; null: gone. */
  row: string | null;
  /** The row lacks values, which the base's row of the key `origin` has. */
  incomplete: boolean;
  /** The key in the base that the row comes from; null: it came later. */
  origin: string | null;
  owner: Owner;
}

interface Entry extends Standing {
  /** Whether the base has a row of this key; `must` and `none` are checked. */
  base: "must" | "may" | "none";
  /** The transaction that made `base` what it is. */
  since: bigint;
  met: boolean;
  /** Of the base's row: it went to another tenant if the base has it; it came from one if the base does not. */
  crossing: "left" | "came" | null;
}

export interface KeyedOptions {
  /** `schema.table` */
  readonly table: string;
  /** Positions of the key's columns. */
  readonly key: readonly number[];
  readonly pass: Pass;
}

/**
 * The changes of a table with a key, as the last state of each row. Keys are compared by their text: an update that only changes how an
 * equal key is written (1.0 to 1.00, citext) arrives with its old key, so texts are exact.
 */
export class KeyedChanges implements FoldedChanges {
  readonly #options: KeyedOptions;
  readonly #entries = new Map<string, Entry>();
  /** By key in the base: the row that needs that row, for its values or to be ours. Made when the base comes. */
  #waiting: Map<string, Entry> | null = null;
  /** Keys of rows that came to us from nobody knows whom, in this transaction. */
  readonly #arrived = new Set<string>();
  /** Keys of updates that found no row, which only such an arrival explains. */
  readonly #strays = new Set<string>();
  #lsn = 0n;
  #truncated = false;
  #crossed = false;

  constructor(options: KeyedOptions) {
    this.#options = options;
  }

  get truncated(): boolean {
    return this.#truncated;
  }

  get crossed(): boolean {
    return this.#crossed;
  }

  apply(change: RowChange): void {
    if (change.lsn !== this.#lsn) this.#beginTransaction(change.lsn);
    switch (change.op) {
      case "insert":
        this.#insert(change.row, change.shared);
        return;
      case "update":
        this.#update(change.old, change.row, change.shared);
        return;
      case "delete": {
        const key = this.#keyOf(change.row);
        if (this.#takes(key)) this.#delete(key, change.shared);
        return;
      }
      case "moved": {
        const key = this.#keyOf(change.row);
        if (this.#takes(key)) this.#move(key, change.toUs);
        return;
      }
      case "truncate":
        this.#entries.clear();
        this.#truncated = true;
    }
  }

  meet(row: string): Fate {
    const key = keyOfText(row, this.#options.key);
    if (!this.#takes(key)) return "other_pass";
    const entry = this.#entries.get(key);
    if (entry?.base === "none") throw this.#damaged("a row was inserted that the base has");
    if (entry !== undefined) entry.met = true;
    if (entry?.crossing === "left") this.#crossed = true;
    this.#waiting ??= this.#findWaiting();
    const waiting = this.#waiting.get(key);
    if (waiting !== undefined) return { row: this.#settle(waiting, row) };
    return entry === undefined ? "kept" : "gone";
  }

  *added(): Generator<AddedRow> {
    this.#beginTransaction(this.#lsn + 1n);
    for (const { row, incomplete, owner, base, met, crossing } of this.#entries.values()) {
      if (base === "must" && !met) throw this.#damaged("a row was changed that the base does not have");
      if (crossing === "came" && !met) this.#crossed = true;
      if (row === null || owner === "if_in_base") continue;
      if (incomplete)
        throw movedRow(this.#options.table, "values of it that did not change with that are in no line of the log");
      yield { row, claimed: owner === "if_parent" };
    }
  }

  #insert(fields: readonly string[], shared: boolean): void {
    const key = this.#keyOf(fields);
    if (!this.#takes(key)) return;
    const row = fields.join("\t");
    const standing: Standing = { row, incomplete: false, origin: null, owner: shared ? "if_parent" : "us" };
    this.#put(key, standing, shared ? "may" : "none", "a row was inserted that was there");
  }

  #update(old: readonly string[] | null, fields: readonly string[], shared: boolean): void {
    const key = this.#keyOf(fields);
    const oldKey = old === null ? key : this.#keyOf(old);
    const before = this.#takes(oldKey) ? this.#take(oldKey, shared) : null;
    if (!this.#takes(key) || (shared && before === null)) return;
    const known = fill(old === null ? fields : fill(fields, old), before?.row?.split("\t") ?? []);
    const incomplete = known.includes(UNKNOWN_FIELD);
    const standing: Standing = {
      row: known.join("\t"),
      incomplete,
      origin: before?.origin ?? null,
      owner: shared ? (before?.owner ?? "if_in_base") : "us",
    };
    if (incomplete && standing.origin === null) throw this.#damaged("a row was updated that is not there");
    this.#put(key, standing, shared ? "may" : "none", "a row took the key of another");
  }

  #delete(key: string, shared: boolean): void {
    if (this.#take(key, shared) === null && !shared) throw this.#damaged("a row was deleted that is not there");
  }

  #move(key: string, toUs: boolean): void {
    if (!toUs) {
      const before = this.#take(key, true);
      if (before?.owner === "us") this.#crossed = true;
      const origin = before?.owner === "if_in_base" ? this.#entries.get(before.origin ?? key) : undefined;
      if (origin !== undefined) origin.crossing = "left";
      return;
    }
    this.#arrived.add(key);
    if (this.#strays.delete(key)) this.#crossed = true;
    const entry = this.#entries.get(key);
    if (entry?.base === "must" && entry.since === this.#lsn) {
      entry.base = "may";
      entry.crossing = "came";
    }
  }

  /** Takes away the row of this key and says what it was; null: there is none, as far as we know. */
  #take(key: string, shared: boolean): Standing | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return this.#truncated ? this.#strayed(key, shared) : this.#takeFromBase(key, shared);
    if (entry.row === null) return this.#strayed(key, shared);
    const { row, incomplete, origin, owner } = entry;
    // A change that is ours for certain says whose the row was all along.
    const originEntry = shared || owner !== "if_in_base" || origin === null ? undefined : this.#entries.get(origin);
    if (originEntry !== undefined) originEntry.base = "must";
    Object.assign(entry, GONE);
    return { row, incomplete, origin, owner };
  }

  #takeFromBase(key: string, shared: boolean): Standing {
    const came = !shared && this.#arrived.has(key);
    const base = shared || came ? "may" : "must";
    this.#entries.set(key, { ...GONE, base, since: this.#lsn, met: false, crossing: came ? "came" : null });
    return { row: null, incomplete: true, origin: key, owner: shared ? "if_in_base" : "us" };
  }

  #strayed(key: string, shared: boolean): null {
    if (shared) return null;
    if (this.#arrived.has(key)) this.#crossed = true;
    else this.#strays.add(key);
    return null;
  }

  #put(key: string, standing: Standing, base: "may" | "none", problem: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      const presence = this.#truncated ? "may" : base;
      this.#entries.set(key, { ...standing, base: presence, since: this.#lsn, met: false, crossing: null });
      return;
    }
    if (entry.row !== null && entry.owner === "us") throw this.#damaged(problem);
    Object.assign(entry, standing);
  }

  #beginTransaction(lsn: bigint): void {
    if (this.#strays.size > 0) throw this.#damaged("a row was updated that is not there");
    this.#arrived.clear();
    this.#lsn = lsn;
  }

  #findWaiting(): Map<string, Entry> {
    const waiting = new Map<string, Entry>();
    for (const entry of this.#entries.values()) {
      const { row, incomplete, origin, owner } = entry;
      if (row !== null && origin !== null && (incomplete || owner === "if_in_base")) waiting.set(origin, entry);
    }
    return waiting;
  }

  /** The whole row, for which nothing has to be kept any more: a big value of the base is handed on at once. */
  #settle(entry: Entry, base: string): string {
    const row = entry.row ?? "";
    entry.row = null;
    return entry.incomplete ? fill(row.split("\t"), base.split("\t")).join("\t") : row;
  }

  #keyOf(fields: readonly string[]): string {
    const values = this.#options.key.map((at) => fields[at] ?? UNKNOWN_FIELD);
    if (values.includes(UNKNOWN_FIELD)) throw this.#damaged("a change does not say of which row it is");
    return values.join("\t");
  }

  #takes(key: string): boolean {
    return takes(this.#options.pass, key);
  }

  #damaged(what: string): Error {
    return damagedLog(this.#options.table, what);
  }
}

const GONE: Standing = { row: null, incomplete: false, origin: null, owner: "us" };

/** The fields, and the other row's where they are unknown. */
function fill(fields: readonly string[], other: readonly string[]): readonly string[] {
  if (!fields.includes(UNKNOWN_FIELD)) return fields;
  return fields.map((field, at) => (field === UNKNOWN_FIELD ? (other[at] ?? UNKNOWN_FIELD) : field));
}

/** The key's fields of a row's text, without splitting the rest. */
export function keyOfText(row: string, key: readonly number[]): string {
  const values = key.map((at) => fieldAt(row, at));
  return values.join("\t");
}

function fieldAt(row: string, position: number): string {
  let start = 0;
  for (let passed = 0; passed < position; passed += 1) start = row.indexOf("\t", start) + 1;
  const end = row.indexOf("\t", start);
  return end === -1 ? row.slice(start) : row.slice(start, end);
}
