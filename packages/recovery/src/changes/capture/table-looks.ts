import type { SeenTables } from "./capture-target.ts";
import type { PublishedTable } from "./published-tables.ts";
import type { Published } from "./read-published.ts";

/** A look at the catalogue that the stream has not come to yet: it may show what transactions still to come have done. */
export interface Look {
  /** What was seen was so at some position between the two. */
  readonly lsn: string;
  readonly endLsn: string;
  readonly endAt: bigint;
  readonly nextXid: bigint;
  readonly seen: SeenTables;
  /** By oid, the tables that looked otherwise than before; null: gone. */
  readonly changed: ReadonlyMap<number, ChangedTable>;
}

export interface PassedLook extends Look {
  /** Event triggers told of all that was done to the tables since the look before. */
  readonly wasTold: boolean;
}

interface ChangedTable {
  readonly table: PublishedTable | null;
  /** Up to here the table was certainly as it looked before. */
  readonly unchangedUntil: string;
}

interface LatestTable {
  readonly text: string;
  readonly table: PublishedTable;
}

/**
 * The looks at the source's catalogue, which is always ahead of the stream: what a message spoke of is told by the first look behind it.
 * Looks that show nothing new are not kept, so hours of them take no memory.
 */
export class TableLooks {
  readonly #latest = new Map<number, LatestTable>();
  /** As they were in the last look that the stream has passed. */
  readonly #passed = new Map<number, PublishedTable>();
  readonly #ahead: Look[] = [];
  /** Event triggers that were in force at the last look that the stream has passed, and at the last of all. */
  #toldSince: string | null = null;
  #latestTrigger: string | null = null;
  /** Those that were there at the last passed look, in force or not yet. */
  #passedTrigger: string | null = null;
  #lookedLsn = "";
  /** Tables that were looked at by themselves since. */
  readonly #lookedAlone = new Map<number, string>();

  /** What was seen before the stream begins. */
  begin(seen: SeenTables): void {
    this.#lookedLsn = seen.lsn;
    this.#toldSince = triggerInForce(seen);
    this.#passedTrigger = seen.ddlTrigger?.version ?? null;
    this.#latestTrigger = seen.ddlTrigger?.version ?? null;
    for (const table of seen.tables) {
      this.#latest.set(table.oid, { table, text: JSON.stringify(table) });
      this.#passed.set(table.oid, table);
    }
  }

  add({ lsn, endLsn, endAt, nextXid }: Published, seen: SeenTables): void {
    const changed = new Map<number, ChangedTable>();
    const present = new Set<number>();
    for (const table of seen.tables) {
      const { oid } = table;
      present.add(oid);
      const text = JSON.stringify(table);
      if (this.#latest.get(oid)?.text === text) continue;
      changed.set(oid, { table, unchangedUntil: this.lookedAt(oid) });
      this.#latest.set(oid, { table, text });
    }
    for (const oid of this.#latest.keys()) {
      if (present.has(oid)) continue;
      changed.set(oid, { table: null, unchangedUntil: this.lookedAt(oid) });
      this.#latest.delete(oid);
    }
    this.#lookedLsn = lsn;
    this.#latestTrigger = seen.ddlTrigger?.version ?? null;
    this.#lookedAlone.clear();
    const last = this.#ahead.at(-1);
    const isSame = last !== undefined && triggerInForce(last.seen) === triggerInForce(seen);
    if (changed.size === 0 && isSame && last.changed.size === 0) this.#ahead.pop();
    this.#ahead.push({ lsn, endLsn, endAt, nextXid, seen, changed });
  }

  /** Takes in a look at one table alone. False: it shows something new, so all tables have to be looked at. */
  addAlone(oid: number, { lsn, ddlTrigger }: Published, table: PublishedTable | undefined): boolean {
    if (ddlTrigger !== this.#latestTrigger) return false;
    const latest = this.#latest.get(oid);
    if (latest?.text !== (table === undefined ? undefined : JSON.stringify(table))) return false;
    this.#lookedAlone.set(oid, lsn);
    return true;
  }

  /** The position up to which everything that was done to this table has been seen. */
  lookedAt(oid: number): string {
    return this.#lookedAlone.get(oid) ?? this.#lookedLsn;
  }

  /** The table as it looked last. */
  latest(oid: number): PublishedTable | undefined {
    return this.#latest.get(oid)?.table;
  }

  /** The table as it looked first at or behind a position; null: it was gone. `lookedAt` has to be as far. */
  after(oid: number, lsn: string): PublishedTable | null {
    let table = this.#passed.get(oid) ?? null;
    for (const look of this.#ahead) {
      const change = look.changed.get(oid);
      if (change === undefined) continue;
      if (lsn <= change.unchangedUntil) return table;
      table = change.table;
      if (lsn <= look.lsn) return table;
    }
    return table;
  }

  /** Whether event triggers tell of all that is done to this table between the last passed look and a position. `lookedAt` has to be as far. */
  isTold(oid: number, lsn: string): boolean {
    if (this.#toldSince === null || this.lookedAt(oid) < lsn) return false;
    for (const look of this.#ahead) {
      if (triggerInForce(look.seen) !== this.#toldSince) return false;
      if (lsn <= look.lsn) return true;
    }
    return this.#latestTrigger === this.#toldSince;
  }

  /** Whether event triggers were there at the last passed look, and are the same as far as anybody looked. */
  get areTriggersThere(): boolean {
    const version = this.#passedTrigger;
    return version !== null && this.#ahead.every(({ seen }) => seen.ddlTrigger?.version === version);
  }

  /** The next look, once the stream has reached a position behind it. */
  pass(lsn: string): PassedLook | null {
    const [look] = this.#ahead;
    if (look === undefined || look.endLsn > lsn) return null;
    this.#ahead.shift();
    const trigger = triggerInForce(look.seen);
    const wasTold = trigger !== null && trigger === this.#toldSince;
    this.#toldSince = trigger;
    this.#passedTrigger = look.seen.ddlTrigger?.version ?? null;
    for (const [oid, { table }] of look.changed) {
      if (table === null) this.#passed.delete(oid);
      else this.#passed.set(oid, table);
    }
    return { ...look, wasTold };
  }

  /** Lets the next look show this table as changed, whatever it shows. */
  forget(oid: number): void {
    this.#latest.delete(oid);
  }
}

function triggerInForce({ ddlTrigger }: SeenTables): string | null {
  return ddlTrigger?.inForce === true ? ddlTrigger.version : null;
}
