import type { ChangeOp } from "../../log/change-lines.ts";
import type { Relation } from "../../log/segment-index.ts";
import type { ScriptedLine, ScriptedTransaction } from "./scripted-log.ts";

/** Numbers from a seed (Mulberry32), so that a failing history can be made again. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const column = (name: string, attnum: number, key: boolean): Relation["columns"][number] => {
  return { name, type: "text", attnum, key, missing: null };
};

/** Key identity without the tenant's column: deletes are nobody's, updates may have come from anybody. */
export const ITEMS: Relation = {
  table: { schema: "app", name: "items" },
  scope: { kind: "direct", column: "tenant" },
  identity: "key",
  columns: [column("big", 1, false), column("id", 2, true), column("tenant", 3, false), column("note", 4, false)],
};
/** Full identity, with a key. */
export const NOTES: Relation = {
  table: { schema: "app", name: "notes" },
  scope: { kind: "direct", column: "tenant" },
  identity: "full",
  columns: [column("id", 1, true), column("tenant", 2, true), column("note", 3, true)],
};
/** Full identity, equal rows. */
export const BAG: Relation = { ...NOTES, table: { schema: "app", name: "bag" } };
/** Belongs to whom its item belongs. */
export const PARTS: Relation = {
  table: { schema: "app", name: "parts" },
  scope: {
    kind: "via",
    path: [{ constraint: "fk", to: ITEMS.table, columns: ["item"], referenced: ["id"] }],
    column: "tenant",
  },
  identity: "key",
  columns: [column("id", 1, true), column("item", 2, false), column("note", 3, false)],
};
export const RELATIONS = [ITEMS, NOTES, BAG, PARTS] as const;
export const KEYS: Readonly<Record<string, string[] | null>> = {
  items: ["id"],
  notes: ["id"],
  bag: null,
  parts: ["id"],
};
export const TENANTS = ["a", "b"] as const;

type Rows = Record<string, readonly (readonly string[])[]>;

export interface RandomHistory {
  readonly transactions: readonly ScriptedTransaction[];
  /** After the first n transactions: the rows by tenant and table, and the snapshot that shows exactly them. */
  readonly states: readonly { readonly pgSnapshot: string; readonly rows: Readonly<Record<string, Rows>> }[];
  /** Which of the transactions, counted from 1, moved an item to another tenant: others may hang on such a row, as far as a reader knows. */
  readonly moves: readonly number[];
}

/**
 * A database of two tenants that is written at random, and what the capture would write of it.
 * @param itemsMove from tenant to tenant, too, which may make moments behind that unreachable: parts hang on items
 */
export function randomHistory(seed: number, length: number, itemsMove = false): RandomHistory {
  const world = new RandomWorld(randomFrom(seed), itemsMove);
  const transactions: ScriptedTransaction[] = [];
  const states = [world.state()];
  const moves: number[] = [];
  for (let n = 1; n <= length; n += 1) {
    transactions.push(world.transaction(n));
    states.push(world.state());
    if (world.moved) moves.push(n);
  }
  return { transactions, states, moves };
}

const U = "\\U";

class RandomWorld {
  readonly #random: (below: number) => number;
  readonly #itemsMove: boolean;
  readonly #items: string[][] = [];
  readonly #notes: string[][] = [];
  readonly #bag: string[][] = [];
  readonly #parts: string[][] = [];
  /** Transactions that have begun and not ended. */
  readonly #running: bigint[] = [];
  #nextXid = 700n;
  #nextId = 1;
  #lines: ScriptedLine[] = [];
  #seq = 0;
  /** The last transaction moved an item. */
  moved = false;

  constructor(random: (below: number) => number, itemsMove: boolean) {
    this.#random = random;
    this.#itemsMove = itemsMove;
    this.#begin();
  }

  state(): RandomHistory["states"][number] {
    const xmin = [...this.#running, this.#nextXid].toSorted((x, y) => Number(x - y))[0];
    const pgSnapshot = `${xmin}:${this.#nextXid}:${this.#running.toSorted((x, y) => Number(x - y)).join(",")}`;
    const rows = Object.fromEntries(TENANTS.map((tenant) => [tenant, this.#rowsOf(tenant)]));
    return { pgSnapshot, rows };
  }

  transaction(n: number): ScriptedTransaction {
    this.#begin();
    const xid = this.#running.splice(this.#random(this.#running.length), 1)[0] ?? 0n;
    if (this.#running.length === 0) this.#begin();
    this.#lines = [];
    this.#seq = 0;
    this.moved = false;
    for (let change = this.#random(5); change >= 0; change -= 1) this.#change();
    return { lsn: BigInt(n * 16), xid, at: BigInt(1_000_000 + n), lines: this.#lines };
  }

  #begin(): void {
    for (let more = this.#random(3); more >= 0; more -= 1) {
      this.#running.push(this.#nextXid);
      this.#nextXid += 1n;
    }
  }

  #rowsOf(tenant: string): Rows {
    const items = this.#items.filter((row) => row[2] === tenant);
    const own = (rows: string[][]): string[][] => rows.filter((row) => row[1] === tenant).map((row) => [...row]);
    const ids = new Set(items.map((row) => row[1]));
    const parts = this.#parts.filter((row) => ids.has(row[1])).map((row) => [...row]);
    return { items: items.map((row) => [...row]), notes: own(this.#notes), bag: own(this.#bag), parts };
  }

  #change(): void {
    const kind = this.#random(20);
    if (kind === 19 && this.#random(3) === 0) this.#truncate();
    else if (kind < 7) this.#changeItem(kind);
    else if (kind < 10) this.#changeFull(NOTES, this.#notes, kind - 7);
    else if (kind < 13) this.#changeFull(BAG, this.#bag, kind - 10);
    else this.#changePart(kind - 13);
  }

  #changeItem(kind: number): void {
    const row = kind < 3 ? undefined : this.#pick(this.#items);
    if (row === undefined) {
      const made = [this.#text(), this.#id(), this.#tenant(), this.#text()];
      this.#items.push(made);
      this.#line(made[2] ?? null, ITEMS, "I", made);
      return;
    }
    const [, oldId = ""] = row;
    const hasParts = this.#parts.some((part) => part[1] === oldId);
    if (kind === 3 && !hasParts) {
      this.#items.splice(this.#items.indexOf(row), 1);
      this.#line(null, ITEMS, "D", [U, oldId, U, U]);
      return;
    }
    const rewritesBig = this.#random(2) === 0;
    // A value that was not carried and a row that moved are a declared gap.
    const moves = kind === 4 && !hasParts && rewritesBig;
    if (rewritesBig) row[0] = this.#text();
    if (kind === 5 && !hasParts) row[1] = this.#id();
    if (moves && this.#itemsMove) {
      const tenant = this.#tenant();
      this.moved ||= tenant !== row[2];
      row[2] = tenant;
    }
    row[3] = this.#text();
    this.#updated(ITEMS, row, row[2] ?? "", {
      old: [U, oldId, U, U],
      keyChanged: row[1] !== oldId,
      hidden: rewritesBig ? -1 : 0,
    });
  }

  /** As the capture writes an update of which the identity does not say whose the row was. */
  #updated(
    relation: Relation,
    row: readonly string[],
    tenant: string,
    { old, keyChanged, hidden }: { old: readonly string[]; keyChanged: boolean; hidden: number },
  ): void {
    const seq = this.#seq;
    if (keyChanged) this.#line(tenant, relation, "O", old);
    this.#seq = seq;
    const image = row.map((value, at) => (at === hidden ? U : value));
    this.#line(tenant, relation, "U", image);
    this.#seq = seq;
    this.#line(null, relation, "M", old, tenant);
  }

  #changeFull(relation: Relation, rows: string[][], kind: number): void {
    const row = kind === 0 ? undefined : this.#pick(rows);
    if (row === undefined) {
      const id = relation === BAG ? `${this.#random(4)}` : this.#id();
      const made = [id, this.#tenant(), `${this.#random(3)}`];
      rows.push(made);
      this.#line(made[1] ?? null, relation, "I", made);
      return;
    }
    const before = [...row];
    if (kind === 1) {
      rows.splice(rows.indexOf(row), 1);
      this.#line(before[1] ?? null, relation, "D", before);
      return;
    }
    row[1] = this.#tenant();
    row[2] = `${this.#random(3)}`;
    if (row[1] !== before[1]) {
      const seq = this.#seq;
      this.#line(before[1] ?? null, relation, "D", before);
      this.#seq = seq;
      this.#line(row[1], relation, "I", row);
      return;
    }
    const seq = this.#seq;
    this.#line(row[1] ?? null, relation, "O", before);
    this.#seq = seq;
    this.#line(row[1] ?? null, relation, "U", row);
  }

  #changePart(kind: number): void {
    const row = kind < 3 ? undefined : this.#pick(this.#parts);
    if (row === undefined) {
      const item = this.#pick(this.#items);
      if (item === undefined) return;
      const made = [this.#id(), item[1] ?? "", this.#text()];
      this.#parts.push(made);
      const isKnown = this.#random(2) === 0;
      this.#line(isKnown ? (item[2] ?? null) : null, PARTS, "I", made);
      return;
    }
    const [oldId = "", itemId = ""] = row;
    if (kind === 3) {
      this.#parts.splice(this.#parts.indexOf(row), 1);
      this.#line(null, PARTS, "D", [oldId, U, U]);
      return;
    }
    row[2] = this.#text();
    const tenant = this.#items.find((item) => item[1] === itemId)?.[2] ?? "";
    if (kind === 4) {
      this.#line(null, PARTS, "U", row);
      return;
    }
    if (kind === 5) {
      row[0] = this.#id();
      const seq = this.#seq;
      const part = this.#random(2) === 0 ? null : tenant;
      this.#line(part, PARTS, "O", [oldId, U, U]);
      this.#seq = seq;
      this.#line(part, PARTS, "U", this.#random(2) === 0 ? row : [row[0] ?? "", row[1] ?? "", row[2] ?? ""]);
      return;
    }
    this.#updated(PARTS, row, tenant, { old: [oldId, U, U], keyChanged: false, hidden: -1 });
  }

  #truncate(): void {
    if (this.#random(2) === 0) {
      this.#parts.length = 0;
      this.#line(null, PARTS, "X", []);
      return;
    }
    this.#bag.length = 0;
    this.#line(null, BAG, "X", []);
  }

  #line(tenant: string | null, relation: Relation, op: ChangeOp, row: readonly string[], movedTo?: string): void {
    const moved = movedTo === undefined ? {} : { movedTo };
    this.#lines.push({ tenant, relation, op, seq: this.#seq, row: [...row], ...moved });
    this.#seq += 1;
  }

  #pick(rows: string[][]): string[] | undefined {
    return rows[this.#random(Math.max(rows.length, 1))];
  }

  #tenant(): string {
    return TENANTS[this.#random(2)] ?? "a";
  }

  #id(): string {
    // Now and then a key that was used before.
    if (this.#random(4) === 0) {
      const old = `${this.#random(this.#nextId) + 1}`;
      const used = [
        ...this.#items.map((row) => row[1]),
        ...this.#notes.map((row) => row[0]),
        ...this.#parts.map((row) => row[0]),
      ];
      if (!used.includes(old)) return old;
    }
    this.#nextId += 1;
    return `${this.#nextId}`;
  }

  #text(): string {
    return ["\\N", "", "x\\ty", "ä\\\\", "z".repeat(this.#random(50))][this.#random(5)] ?? "";
  }
}
