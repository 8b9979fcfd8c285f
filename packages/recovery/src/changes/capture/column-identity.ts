import type { MessageColumn } from "./pgoutput.ts";
import type { PublishedColumn, PublishedTable } from "./published-tables.ts";

/** A column of a table as it was at a position of the stream. */
export interface KnownColumn extends Pick<MessageColumn, "name" | "typeOid" | "typeModifier"> {
  readonly attnum: number;
  /** As of PublishedColumn. */
  readonly missing: string | null;
  readonly hasMissing: boolean;
  /** As of PublishedColumn; null: nobody saw its row in the catalogue. */
  readonly writtenBy: string | null;
}

/** A table as it was at a position of the stream. */
export interface KnownTable {
  readonly columns: readonly KnownColumn[];
  /** Attribute numbers up to this one had been given: those that no column has are of dropped (or computed) ones. */
  readonly attnums: number;
  /** Null: partitioned, so its own storage tells nothing. */
  readonly filenode: string | null;
}

export interface Evidence {
  /** The table at a position before the message; null: nothing is known. */
  readonly before: KnownTable | null;
  /** The catalogue at a position behind it; null: the table was no longer there. */
  readonly after: PublishedTable | null;
  /** How values of a type lie in a row; undefined: the type is gone. */
  readonly representationOf: (typeOid: number) => string | undefined;
}

/**
 * Which columns a message speaks of. A message has names, types and order, but no attribute numbers, and the catalogue that could be
 * asked is later than the message: a name may be another column's by now. What is certain is this: numbers are given once and in order, a
 * message has every column that lives, and a column whose row in the catalogue is the same before and after was the same in between. If
 * one way alone of numbering the columns agrees with all that, it is the right one. Pure.
 *
 * @returns the columns in the message's order; null: several ways agree with what is known, or what is known does not tell the value
 *   that older rows have
 */
export function identifyColumns(columns: readonly MessageColumn[], evidence: Evidence): KnownColumn[] | null {
  const { before, after } = evidence;
  if (after === null) return before !== null && isSame(columns, before.columns) ? [...before.columns] : null;
  const placement = new Placements(columns, before, after, evidence.representationOf).only();
  if (placement === null) return null;
  const known = new Map(before?.columns.map((column) => [column.attnum, column]));
  const live = new Map(after.columns.map((column) => [column.attnum, column]));
  const found: KnownColumn[] = [];
  for (const [place, attnum] of placement.entries()) {
    const column = columns[place];
    const [old, now] = [known.get(attnum), live.get(attnum)];
    const isNew = attnum > (before?.attnums ?? 0);
    // It came and went while nobody looked; or it was computed before, and has values that nothing tells.
    if (column === undefined || (old === undefined && (!isNew || now === undefined))) return null;
    const { missing, hasMissing } = old?.hasMissing === true ? old : (now ?? { missing: null, hasMissing: false });
    const { name, typeOid, typeModifier } = column;
    // That it looks like the catalogue's column does not say that it is the same version: it may be renamed away and back.
    const writtenBy = old !== undefined && old.writtenBy === now?.writtenBy ? old.writtenBy : null;
    found.push({ name, typeOid, typeModifier, attnum, missing, hasMissing, writtenBy });
  }
  return found;
}

/** Whether these are the same columns in the same order, as far as a message tells. */
export function isSame(
  a: readonly Pick<MessageColumn, "name" | "typeOid" | "typeModifier">[],
  b: readonly Pick<MessageColumn, "name" | "typeOid" | "typeModifier">[],
): boolean {
  return (
    a.length === b.length &&
    a.every(({ name, typeOid, typeModifier }, at) => {
      const other = b[at];
      return name === other?.name && typeOid === other.typeOid && typeModifier === other.typeModifier;
    })
  );
}

/** What the catalogue showed, as of a position. */
export function knownTable(table: PublishedTable): KnownTable {
  return {
    columns: storedColumns(table),
    attnums: Math.max(table.attnums, ...table.columns.map(({ attnum }) => attnum)),
    filenode: hasStorage(table) ? table.filenode : null,
  };
}

/** The columns that a message has. */
export function storedColumns({ columns }: PublishedTable): PublishedColumn[] {
  return columns.filter(({ generated }) => !generated);
}

function hasStorage({ filenode, leaves }: PublishedTable): boolean {
  return filenode !== "0" && leaves.length === 0;
}

/** Searches for the ways of giving a message's columns their numbers. */
class Placements {
  readonly #columns: readonly MessageColumn[];
  readonly #after: PublishedTable;
  readonly #representationOf: Evidence["representationOf"];
  /** Numbers that had been given before. */
  readonly #given: number;
  readonly #known: ReadonlyMap<number, KnownColumn>;
  readonly #live: ReadonlyMap<number, PublishedColumn>;
  readonly #dropped: ReadonlyMap<number, { readonly representation: string }>;
  /** Values were not written anew in between: a column's representation stayed what it was. */
  readonly #untouched: boolean;
  readonly #found = new Map<string, readonly number[]>();

  constructor(
    columns: readonly MessageColumn[],
    before: KnownTable | null,
    after: PublishedTable,
    representationOf: Evidence["representationOf"],
  ) {
    this.#columns = columns;
    this.#after = after;
    this.#representationOf = representationOf;
    this.#given = before?.attnums ?? 0;
    this.#known = new Map(before?.columns.map((column) => [column.attnum, column]));
    this.#live = new Map(storedColumns(after).map((column) => [column.attnum, column]));
    this.#dropped = new Map(after.dropped.map((column) => [column.attnum, column]));
    this.#untouched = before !== null && before.filenode !== null && before.filenode === after.filenode;
  }

  /** The only way there is; null: there is none, or another. */
  only(): readonly number[] | null {
    const last = Math.max(this.#given, this.#after.attnums);
    // By how many columns had been made when the message was sent.
    for (let given = this.#given; given <= last && this.#found.size < 2; given += 1) {
      this.#search(given, 0, 1, [], new Set());
    }
    const [first = null, second] = this.#found.values();
    return second === undefined ? first : null;
  }

  #search(given: number, place: number, attnum: number, taken: readonly number[], dead: Set<string>): boolean {
    if (attnum > given) {
      if (place < this.#columns.length) return false;
      this.#found.set(taken.join(), taken);
      return true;
    }
    const state = `${place} ${attnum}`;
    if (dead.has(state) || this.#found.size > 1) return false;
    const role = this.#roleOf(attnum);
    const takes =
      role !== "never" &&
      this.#fits(place, attnum) &&
      this.#search(given, place + 1, attnum + 1, [...taken, attnum], dead);
    const leaves = role !== "must" && this.#search(given, place, attnum + 1, taken, dead);
    if (!takes && !leaves) dead.add(state);
    return takes || leaves;
  }

  /** Whether a column of a number that had been given has to be in the message. */
  #roleOf(attnum: number): "must" | "may" | "never" {
    const isNew = attnum > this.#given;
    if (this.#live.has(attnum)) return isNew || this.#known.has(attnum) ? "must" : "may";
    return this.#dropped.has(attnum) && (isNew || this.#known.has(attnum)) ? "may" : "never";
  }

  #fits(place: number, attnum: number): boolean {
    const column = this.#columns[place];
    if (column === undefined) return false;
    const [old, now] = [this.#known.get(attnum), this.#live.get(attnum)];
    const isUntouched = old !== undefined && now !== undefined && old.writtenBy === now.writtenBy;
    if (isUntouched) return isSame([column], [now]);
    if (!this.#untouched) return true;
    const then = (now ?? this.#dropped.get(attnum))?.representation ?? "";
    const own = this.#representationOf(column.typeOid) ?? "";
    return then === "" || own === "" || then === own;
  }
}
