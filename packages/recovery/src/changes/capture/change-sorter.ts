import type { Change, ChangeOp } from "../log/change-lines.ts";
import type { Transaction } from "../log/segment-index.ts";
import type { Route } from "./capture-plan.ts";
import type { CapturedTable, Lead } from "./captured-table.ts";
import type { ParentKey, ParentTenants } from "./parent-tenants.ts";
import type { Message, OldTuple } from "./pgoutput.ts";
import type { Alteration } from "./table-book.ts";
import { RowText, type Tuple } from "./tuple.ts";

/** The row's tenant can't be told, now or ever. */
const UNKNOWN = Symbol("unknown");
/** It could be, once the parent was looked up. */
const PENDING = Symbol("pending");
/** Null: the row is nobody's. */
type Tenant = string | null | typeof UNKNOWN | typeof PENDING;

/** The messages that change rows. */
export type RowMessage = Extract<Message, { kind: "insert" | "update" | "delete" | "truncate" }>;

/** A row went from one tenant to another, and something of it or behind it can't be written. */
export interface TenantMove {
  readonly table: CapturedTable;
  readonly tenants: readonly string[];
}

export interface SorterOutput {
  add(change: Change): void;
  moved(move: TenantMove): void;
}

/** Turns row messages into lines of tenants (docs/CHANGE-LOG.md, "Whose change is it?"). */
export class ChangeSorter {
  readonly #tables: { get(oid: number): CapturedTable | null | undefined };
  readonly #parents: ParentTenants;
  readonly #output: SorterOutput;
  readonly #row = new RowText();
  #transaction: Transaction = { lsn: "", xid: "", at: "" };
  #seq = 0;

  constructor(
    tables: { get(oid: number): CapturedTable | null | undefined },
    parents: ParentTenants,
    output: SorterOutput,
  ) {
    this.#tables = tables;
    this.#parents = parents;
    this.#output = output;
  }

  begin(transaction: Transaction): void {
    this.#transaction = transaction;
    this.#seq = 0;
  }

  /**
   * Writes the lines of a message. False: nothing was written, because the tenant of a parent has to be looked up first
   * (`parentsOf` says which).
   * @throws RangeError when no relation message came for its table
   */
  apply(message: RowMessage): boolean {
    switch (message.kind) {
      case "insert":
        return this.#insert(this.#tableOf(message.oid), message.row);
      case "update":
        return this.#update(this.#tableOf(message.oid), message.old, message.row);
      case "delete":
        return this.#delete(this.#tableOf(message.oid), message.old);
      case "truncate":
        for (const oid of message.oids) this.#truncate(this.#tableOf(oid));
        return true;
    }
  }

  /** Writes that a table has another definition from here on. */
  altered({ relation, since }: Alteration): void {
    const place = Buffer.from(`${since.lsn}\t${since.at}`, "latin1");
    this.#output.add({
      tenant: null,
      relation,
      transaction: this.#transaction,
      op: "A",
      seq: this.#seq++,
      row: place,
    });
  }

  /** The parents whose tenants `apply` would have to know, as far as they are not known yet. */
  *parentsOf(message: RowMessage): Generator<{ readonly route: Route; readonly key: ParentKey }> {
    if (message.kind === "truncate") return;
    const table = this.#tables.get(message.oid);
    if (table === null || table === undefined) return;
    const tuples =
      message.kind === "insert"
        ? [message.row]
        : message.kind === "delete"
          ? [message.old.tuple]
          : [message.row, ...(message.old === null ? [] : [message.old.tuple])];
    for (const rule of [table.rule, ...table.leads.map((lead) => lead.rule)]) {
      if (rule.kind !== "via") continue;
      for (const tuple of tuples) {
        const key = keyOf(tuple, rule.columns);
        if (Array.isArray(key) && this.#parents.get(rule.route, key) === undefined) yield { route: rule.route, key };
      }
    }
  }

  #tableOf(oid: number): CapturedTable | null {
    const table = this.#tables.get(oid);
    if (table === undefined) throw new RangeError(`a change came before the relation ${oid} was described`);
    return table;
  }

  #insert(table: CapturedTable | null, row: Tuple): boolean {
    if (table === null) return true;
    const tenant = this.#tenantOf(table.rule, row);
    if (tenant === PENDING) return false;
    this.#learn(table, row);
    if (tenant !== null) this.#write(table, tenant, "I", this.#seq++, row, null, null);
    return true;
  }

  #delete(table: CapturedTable | null, old: OldTuple): boolean {
    if (table === null) return true;
    const tenant = this.#oldTenantOf(table, old);
    if (tenant === PENDING) return false;
    if (tenant !== null) this.#write(table, tenant, "D", this.#seq++, old.tuple, maskOf(table, old), null);
    return true;
  }

  #update(table: CapturedTable | null, old: OldTuple | null, row: Tuple): boolean {
    if (table === null) return true;
    const whole = old?.complete === true ? old.tuple : null;
    const now = this.#tenantOf(table.rule, row, whole);
    if (now === PENDING) return false;
    // No old row: what is part of the identity did not change, so what tells the tenant did not either, if it is part of it.
    const before = old === null ? (table.tellsOldTenant ? now : UNKNOWN) : this.#oldTenantOf(table, old);
    if (before === PENDING) return false;
    this.#noticeMove(table, before, now, row, whole);
    this.#learn(table, row, whole);
    if (before === now) this.#writeUpdate(table, now, old, row);
    else if (before === UNKNOWN) this.#writeFromSomebody(table, now, old, row);
    else if (now === UNKNOWN) this.#writeUpdate(table, UNKNOWN, old, row);
    else this.#writeMove(table, { before, now }, old, row);
    return true;
  }

  #writeUpdate(table: CapturedTable, tenant: string | null | typeof UNKNOWN, old: OldTuple | null, row: Tuple): void {
    if (tenant === null) return;
    const seq = this.#seq++;
    if (old !== null) this.#write(table, tenant, "O", seq, old.tuple, maskOf(table, old), null);
    this.#write(table, tenant, "U", seq, row, null, old?.complete === true ? old.tuple : null);
  }

  /** Whose it was is not known: whoever had it loses it, and it is this tenant's now. */
  #writeFromSomebody(
    table: CapturedTable,
    now: string | null | typeof UNKNOWN,
    old: OldTuple | null,
    row: Tuple,
  ): void {
    if (now === UNKNOWN) {
      this.#writeUpdate(table, UNKNOWN, old, row);
      return;
    }
    const movedTo = now ?? "";
    const key = old === null ? { tuple: row, mask: table.known } : { tuple: old.tuple, mask: maskOf(table, old) };
    this.#write(table, UNKNOWN, "M", this.#seq++, key.tuple, key.mask, null, movedTo);
    this.#writeUpdate(table, now, old, row);
  }

  #writeMove(
    table: CapturedTable,
    { before, now }: { readonly before: string | null; readonly now: string | null },
    old: OldTuple | null,
    row: Tuple,
  ): void {
    const whole = old?.complete === true ? old.tuple : null;
    if (before !== null && old !== null)
      this.#write(table, before, "D", this.#seq++, old.tuple, maskOf(table, old), null);
    if (now !== null) this.#write(table, now, "I", this.#seq++, row, null, whole);
  }

  #truncate(table: CapturedTable | null): void {
    if (table === null) return;
    this.#row.clear();
    this.#emit(table, UNKNOWN, "X", this.#seq++);
  }

  #oldTenantOf(table: CapturedTable, old: OldTuple): Tenant {
    if (!old.complete && !table.tellsOldTenant) return UNKNOWN;
    return this.#tenantOf(table.rule, old.tuple);
  }

  #tenantOf(rule: CapturedTable["rule"], row: Tuple, older: Tuple | null = null): Tenant {
    switch (rule.kind) {
      case "constant":
        return rule.tenant;
      case "column": {
        const value = row.value(rule.column);
        const known = value === undefined ? older?.value(rule.column) : value;
        // An empty key is no tenant's: the control database refuses it.
        return known === undefined ? UNKNOWN : known || null;
      }
      case "via": {
        const key = keyOf(row, rule.columns, older);
        if (key === null || key === UNKNOWN) return key;
        const tenant = this.#parents.get(rule.route, key);
        if (tenant !== undefined) return tenant;
        return this.#parents.isUnknown(rule.route, key) ? UNKNOWN : PENDING;
      }
    }
  }

  /** What the row says of its own tenant is kept for the rows that will refer to it. */
  #learn(table: CapturedTable, row: Tuple, older: Tuple | null = null): void {
    for (const lead of table.leads) {
      const key = keyOf(row, lead.key, older);
      const tenant = this.#tenantOf(lead.rule, row, older);
      if (key === null || key === UNKNOWN || tenant === UNKNOWN || tenant === PENDING) continue;
      this.#parents.set(lead.route, key, tenant);
    }
  }

  #noticeMove(
    table: CapturedTable,
    before: string | null | typeof UNKNOWN,
    now: string | null | typeof UNKNOWN,
    row: Tuple,
    whole: Tuple | null,
  ): void {
    const from = before === UNKNOWN ? this.#rememberedTenant(table.leads, row, whole) : before;
    if (from === now || from === UNKNOWN) return;
    const hangsOnIt = table.leads.length > 0;
    if (hangsOnIt) this.#parents.clear();
    const lost = typeof now === "string" && before !== UNKNOWN && whole === null && row.isPartial;
    const tenants = hangsOnIt ? [from, now] : lost ? [now] : [];
    const named = tenants.filter((tenant) => typeof tenant === "string");
    if (named.length > 0) this.#output.moved({ table, tenants: named });
  }

  /** What an earlier message or look-up said of a parent that is about to say something else. */
  #rememberedTenant(leads: readonly Lead[], row: Tuple, whole: Tuple | null): string | null | typeof UNKNOWN {
    for (const { route, key: columns } of leads) {
      const key = keyOf(row, columns, whole);
      const tenant = key === null || key === UNKNOWN ? undefined : this.#parents.get(route, key);
      if (tenant !== undefined) return tenant;
    }
    return UNKNOWN;
  }

  #write(
    table: CapturedTable,
    tenant: string | typeof UNKNOWN,
    op: ChangeOp,
    seq: number,
    tuple: Tuple,
    known: readonly boolean[] | null,
    older: Tuple | null,
    movedTo?: string,
  ): void {
    this.#row.clear();
    tuple.write(this.#row, known, older);
    this.#emit(table, tenant, op, seq, movedTo);
  }

  #emit(table: CapturedTable, tenant: string | typeof UNKNOWN, op: ChangeOp, seq: number, movedTo?: string): void {
    const change = {
      tenant: tenant === UNKNOWN ? null : tenant,
      relation: table.relation,
      transaction: this.#transaction,
      op,
      seq,
      row: this.#row.bytes,
    };
    this.#output.add(movedTo === undefined ? change : { ...change, movedTo });
  }
}

/** The values of these columns; null where one is NULL (it refers to nothing); UNKNOWN where one is not there. */
function keyOf(row: Tuple, columns: readonly number[], older: Tuple | null = null): ParentKey | null | typeof UNKNOWN {
  const key: string[] = [];
  for (const column of columns) {
    const own = row.value(column);
    const value = own === undefined ? older?.value(column) : own;
    if (value === undefined) return UNKNOWN;
    if (value === null) return null;
    key.push(value);
  }
  return key;
}

/** What an old tuple says: all of it, or only its key. */
function maskOf(table: CapturedTable, old: OldTuple): readonly boolean[] | null {
  return old.complete ? null : table.known;
}
