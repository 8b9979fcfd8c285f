import { UNKNOWN_FIELD, unescapeField } from "../log/change-lines.ts";
import type { LoggedTableChange } from "../moment/moment-log.ts";

/** Values by column; what nobody knows is left out. */
export type RowValues = ReadonlyMap<string, string | null>;

export interface RowVersion {
  readonly operation: "insert" | "update" | "delete" | "truncate" | "gone";
  readonly row: RowValues | null;
  readonly changed: readonly string[];
}

/**
 * Follows one row of a tenant, by its key, through the changes of its table. Of the shared part only what certainly concerns the tenant is told:
 * a key that another tenant used must not show.
 */
export class RowVersions {
  readonly #keyColumns: readonly string[];
  readonly #key: readonly string[];
  readonly #tenantKey: string;
  #now: RowValues | null;
  /** A row that came in that nobody knew the tenant of; told when a change says that it is ours. */
  #unclaimed: RowValues | null = null;

  constructor(of: { keyColumns: readonly string[]; key: readonly string[]; tenantKey: string; row: RowValues | null }) {
    this.#keyColumns = of.keyColumns;
    this.#key = of.key;
    this.#tenantKey = of.tenantKey;
    this.#now = of.row;
  }

  /** What this change made of the row; null: it is of another one. */
  next({ change, relation, shared }: LoggedTableChange): RowVersion | null {
    const names = relation.columns.map(({ name }) => name);
    const row = valuesOf(names, change.row);
    switch (change.op) {
      case "insert":
        return this.#insert(row, shared);
      case "update":
        return this.#update(row, change.old === null ? null : valuesOf(names, change.old), shared);
      case "delete":
        return this.#isRow(row, shared) ? this.#end("delete") : null;
      case "moved":
        return change.tenant !== this.#tenantKey && this.#isRow(row, true) ? this.#end("gone") : null;
      case "truncate":
        return this.#now === null ? null : this.#end("truncate");
    }
  }

  #insert(row: RowValues, shared: boolean): RowVersion | null {
    if (!this.#hasKey(row)) return null;
    if (shared) {
      this.#unclaimed = row;
      return null;
    }
    this.#now = row;
    this.#unclaimed = null;
    return { operation: "insert", row, changed: [] };
  }

  #update(row: RowValues, old: RowValues | null, shared: boolean): RowVersion | null {
    const before = old ?? row;
    const wasIt = this.#isRow(before, shared);
    if (!this.#hasKey(row)) return wasIt ? this.#end("gone") : null;
    if (shared && !wasIt) return null;
    const known = new Map([...(wasIt ? (this.#now ?? []) : []), ...(old ?? []), ...row]);
    const changed = [...row].filter(([name, value]) => this.#now?.has(name) && this.#now.get(name) !== value);
    this.#now = new Map([...known].filter(([name]) => row.has(name) || this.#now?.has(name) || old?.has(name)));
    return { operation: "update", row: this.#now, changed: changed.map(([name]) => name) };
  }

  #end(operation: "delete" | "truncate" | "gone"): RowVersion {
    this.#now = null;
    this.#unclaimed = null;
    return { operation, row: null, changed: [] };
  }

  /** Whether these values name the row. What is shared concerns us only while we have it. */
  #isRow(values: RowValues, shared: boolean): boolean {
    if (!shared && this.#now === null && this.#unclaimed !== null && this.#hasKey(values)) this.#now = this.#unclaimed;
    if (shared && this.#now === null) {
      // Whoever's it was, it is not what a later row of ours comes from.
      if (this.#hasKey(values)) this.#unclaimed = null;
      return false;
    }
    if (this.#keyColumns.every((name) => values.has(name))) return this.#hasKey(values);
    // A replica identity other than the key: its values say which row it is.
    const { size } = values;
    return size > 0 && this.#now !== null && [...values].every(([name, value]) => this.#now?.get(name) === value);
  }

  #hasKey(values: RowValues): boolean {
    return this.#keyColumns.every((name, at) => values.get(name) === this.#key[at]);
  }
}

/** A row's fields, one character per byte, as values by column. */
export function valuesOf(names: readonly string[], fields: readonly string[]): RowValues {
  const values = new Map<string, string | null>();
  for (const [at, name] of names.entries()) {
    const field = fields[at];
    if (field === undefined || field === UNKNOWN_FIELD) continue;
    values.set(name, unescapeField(Buffer.from(field, "latin1").toString("utf8")));
  }
  return values;
}
