import { type CatalogCache, readCatalog } from "../../postgres/catalog.ts";
import type { Source, SourceClient } from "../../postgres/source.ts";
import type { TableName } from "../../postgres/tenancy.ts";
import type { Relation, RelationColumn, Transaction } from "../log/segment-index.ts";
import type { CapturePlan } from "./capture-plan.ts";
import type { SeenTables } from "./capture-target.ts";
import { type CapturedTable, describeTable } from "./captured-table.ts";
import {
  identifyColumns,
  isSame,
  type KnownColumn,
  type KnownTable,
  knownTable,
  storedColumns,
} from "./column-identity.ts";
import { ColumnTypes } from "./column-types.ts";
import type { MessageColumn, RelationMessage } from "./pgoutput.ts";
import { type PublishedTable, rememberMissing } from "./published-tables.ts";
import { type Published, readPublished } from "./read-published.ts";
import { type Look, TableLooks } from "./table-looks.ts";
import { TablePlans } from "./table-plans.ts";
import { lsnText } from "./wal-position.ts";

/** A position of the stream, and the source's clock there. */
export type Place = Pick<Transaction, "lsn" | "at">;

/** From here on a table has another definition. */
export interface Alteration {
  readonly relation: Relation;
  /** The last place at which it certainly had the one before. */
  readonly since: Place;
}

/** What a relation message brought. */
export interface Lesson {
  /** Null: nothing new. */
  readonly altered: Alteration | null;
  /** Its columns can't be told apart from others: the last place where all was certain, and an id of a transaction behind it all. */
  readonly unclear: { readonly since: Place; readonly nextXid: bigint } | null;
}

export interface Passed {
  readonly look: Look;
  /** The look before it. */
  readonly since: Place;
  readonly altered: readonly Alteration[];
  /** What was said of their columns since the look before is not true. */
  readonly contradicted: readonly TableName[];
}

interface Entry {
  readonly signature: string;
  message: RelationMessage;
  /** The message's. */
  columns: readonly RelationColumn[];
  /** Commit LSN of the transaction that the message came in. */
  readonly lsn: string;
  table: CapturedTable | null;
  /** The last transaction with a change of its rows. */
  changed: Place | null;
}

/** The tables of a stream, as its relation messages and the source's catalogue have them. */
export class TableBook {
  readonly #source: Source;
  readonly #publicationName: string;
  readonly #cache: CatalogCache;
  readonly #entries = new Map<number, Entry>();
  readonly #types = new ColumnTypes();
  readonly #looks = new TableLooks();
  /** Tables as they were where the stream is. */
  readonly #known = new Map<number, KnownTable>();
  /** The same as the catalogue or an event trigger last had them. */
  readonly #tables = new Map<number, PublishedTable>();
  /** The transaction in which an event trigger last told of a table: its commit LSN. */
  readonly #toldAt = new Map<number, string>();
  /** The definitions that the log has, or that every base has. */
  readonly #announced = new Map<number, string>();
  /** The last look that the stream has passed. */
  #passed: Place = { lsn: "", at: "0" };
  #nextXid = 0n;
  readonly #plans: TablePlans;

  constructor(source: Source, publicationName: string, cache: CatalogCache) {
    this.#source = source;
    this.#publicationName = publicationName;
    this.#cache = cache;
    this.#plans = new TablePlans(source);
  }

  get plan(): CapturePlan {
    return this.#plans.now;
  }

  /** Null: its changes are nobody's to log. Undefined: no relation message came. */
  get(oid: number): CapturedTable | null | undefined {
    return this.#entries.get(oid)?.table;
  }

  /** Whether the message says something else than the one before: the same one comes again after every VACUUM and ANALYZE. */
  isNews(message: RelationMessage): boolean {
    return this.#entries.get(message.oid)?.signature !== signatureOf(message);
  }

  /** What whoever captured before saw of the tables, before the stream begins. */
  begin(seen: SeenTables): void {
    this.#looks.begin(seen);
    this.#passed = placeOf(seen.lsn, seen.at);
    for (const table of seen.tables) {
      this.#keep(table);
      this.#announced.set(table.oid, textOf(storedColumns(table)));
    }
  }

  /** A row of the table was changed in this transaction. */
  touch(oid: number, transaction: Place): void {
    const entry = this.#entries.get(oid);
    if (entry !== undefined) entry.changed = transaction;
  }

  /** Reads the catalogue again, and sees every table anew: a new foreign key may lead to an old table. Errors as of the driver. */
  async refresh(client: SourceClient): Promise<Published> {
    const catalog = await readCatalog(client, this.#cache);
    const published = await readPublished(client, this.#publicationName);
    if (this.#plans.refresh(catalog)) for (const entry of this.#entries.values()) this.#describe(entry);
    return published;
  }

  /** Takes in what `refresh` saw. */
  addLook(published: Published, seen: SeenTables): void {
    this.#nextXid = published.nextXid;
    this.#looks.add(published, seen);
  }

  /** Whether the source has a table of this name now. */
  hasNow(table: TableName): boolean {
    return this.#plans.hasNow(table);
  }

  /**
   * Looks at the table of a message, as far as the looks do not reach behind the message's transaction yet. False: it is not what it was,
   * so that all tables have to be looked at before `learn`. Errors leave as RecoveryError.
   */
  async lookAlone(message: RelationMessage, { lsn }: Place, signal: AbortSignal): Promise<boolean> {
    const { oid, columns } = message;
    return await this.#source.connect(
      async (client) => {
        await this.#types.learn(client, columns);
        if (this.#looks.lookedAt(oid) >= lsn) return true;
        const published = await readPublished(client, this.#publicationName, [oid]);
        this.#nextXid = published.nextXid;
        const [table] = published.tables.map((one) => rememberMissing(one, this.#looks.latest(oid)));
        return this.#looks.addAlone(oid, published, table);
      },
      { signal },
    );
  }

  /** Takes a relation message in. The looks have to reach behind its transaction. */
  learn(message: RelationMessage, transaction: Place): Lesson {
    const { oid } = message;
    const before = this.#known.get(oid) ?? null;
    const after = this.#looks.after(oid, transaction.lsn);
    const { representationOf } = this.#types;
    const told = before !== null && isSame(message.columns, before.columns) && this.#looks.isTold(oid, transaction.lsn);
    const columns = told ? before.columns : identifyColumns(message.columns, { before, after, representationOf });
    if (columns !== null) this.#known.set(oid, knownFrom(columns, before));
    const changed = this.#entries.get(oid)?.changed ?? null;
    const since = later(this.#passed, changed);
    const entry: Entry = {
      signature: signatureOf(message),
      message,
      columns: message.columns.map((column, place) => this.#relationColumn(column, columns?.[place])),
      lsn: transaction.lsn,
      table: null,
      changed,
    };
    this.#describe(entry, this.#entries.get(oid));
    this.#entries.set(oid, entry);
    const altered = this.#announce(oid, columns ?? message.columns, entry.table?.relation ?? null, since);
    // A table that is gone has nothing that could be brought back wrong.
    const unclear = columns === null && entry.table !== null && !(before === null && after === null);
    return { altered, unclear: unclear ? { since, nextXid: this.#nextXid } : null };
  }

  /** Takes in what an event trigger told of a table in this transaction. Null: no triggers are there, so nobody vouches for it. */
  tell(
    table: PublishedTable,
    transaction: Place,
  ): { readonly table: PublishedTable; readonly altered: Alteration | null } | null {
    if (!this.#looks.areTriggersThere) return null;
    const { oid } = table;
    this.#toldAt.set(oid, transaction.lsn);
    return { table: this.#keep(table), altered: this.#adopt(oid, justBefore(transaction)) };
  }

  /** What was seen, with what event triggers told since of the stream's past. */
  asTold(seen: SeenTables): SeenTables {
    return { ...seen, tables: seen.tables.map((table) => this.#tables.get(table.oid) ?? table) };
  }

  /** What the next look shows, if the stream has come to a place behind it. */
  pass(lsn: string): Passed | null {
    const look = this.#looks.pass(lsn);
    if (look === null) return null;
    const altered: Alteration[] = [];
    const contradicted = look.wasTold ? this.#contradicted(look) : [];
    for (const table of contradicted) {
      this.#keep(table);
      const alteration = this.#adopt(table.oid, this.#passed);
      if (alteration !== null) altered.push(alteration);
    }
    for (const [oid, { table }] of look.changed) {
      const alteration = table === null ? null : this.#seeNow(oid, table, look);
      if (alteration !== null) altered.push(alteration);
    }
    const since = this.#passed;
    this.#passed = placeOf(look.seen.lsn, look.seen.at);
    return { look, since, altered, contradicted: contradicted.map(({ table }) => table) };
  }

  /** Tables that look otherwise than the event triggers told: somebody switched those off unseen, or wrote messages like theirs. */
  #contradicted(look: Look): PublishedTable[] {
    return look.seen.tables.filter((table) => {
      const known = this.#known.get(table.oid);
      const isSettled = (this.#toldAt.get(table.oid) ?? "") < look.lsn;
      return known !== undefined && isSettled && textOf(known.columns) !== textOf(storedColumns(table));
    });
  }

  #seeNow(oid: number, table: PublishedTable, look: Look): Alteration | null {
    const entry = this.#entries.get(oid);
    if ((entry?.lsn ?? "") >= look.lsn || (this.#toldAt.get(oid) ?? "") >= look.lsn) {
      // A message came while it was being looked: which of the two is later is not known.
      this.#looks.forget(oid);
      return null;
    }
    this.#keep(table);
    return this.#adopt(oid, later(this.#passed, entry?.changed ?? null));
  }

  /** The table is so where the stream is. */
  #keep(table: PublishedTable): PublishedTable {
    const kept = rememberMissing(table, this.#tables.get(table.oid));
    this.#tables.set(table.oid, kept);
    this.#known.set(table.oid, knownTable(kept));
    return kept;
  }

  /** Describes a table as it is kept. */
  #adopt(oid: number, since: Place): Alteration | null {
    const table = this.#tables.get(oid);
    if (table === undefined) return null;
    const entry = this.#entries.get(oid);
    const columns = storedColumns(table);
    const described: Entry = { ...(entry ?? strangerOf(table)), table: null };
    const isCurrent = entry !== undefined && isSame(entry.message.columns, columns);
    // Else a message will come before the next change of a row.
    if (!isCurrent) described.message = { ...strangerOf(table).message, columns: columns.map(withoutKey) };
    described.columns = described.message.columns.map((column, place) => this.#relationColumn(column, columns[place]));
    this.#describe(described, entry);
    if (isCurrent) this.#entries.set(oid, described);
    return this.#announce(oid, columns, described.table?.relation ?? null, since);
  }

  #announce(
    oid: number,
    columns: readonly (MessageColumn | KnownColumn)[],
    relation: Relation | null,
    since: Place,
  ): Alteration | null {
    const text = textOf(columns);
    const before = this.#announced.get(oid);
    this.#announced.set(oid, text);
    return before === undefined || before === text || relation === null ? null : { relation, since };
  }

  #relationColumn(
    column: MessageColumn,
    known: (Pick<KnownColumn, "attnum" | "missing"> & { readonly type?: string }) | undefined,
  ): RelationColumn {
    const type = known?.type ?? this.#types.nameOf(column);
    return { name: column.name, type, attnum: known?.attnum ?? null, key: column.key, missing: known?.missing ?? null };
  }

  #describe(entry: Entry, previous: Entry = entry): void {
    const now = this.#looks.latest(entry.message.oid)?.table;
    const table = describeTable(entry.message, this.#plans.of(entry.message, now), entry.columns);
    const old = previous.table?.relation;
    // The same object for as long as it says the same: a segment lists a relation once.
    entry.table =
      table !== null && old !== undefined && JSON.stringify(old) === JSON.stringify(table.relation)
        ? { ...table, relation: old }
        : table;
  }
}

/** A commit may have its time before anybody sees it: what a look does not show may have a time that is this much earlier. */
const CLOCK_MARGIN_MICROS = 1_000_000n;

function placeOf(lsn: string, at: bigint): Place {
  return { lsn, at: (at - CLOCK_MARGIN_MICROS).toString() };
}

function justBefore({ lsn, at }: Place): Place {
  return { lsn: lsnText(BigInt(`0x${lsn}`) - 1n), at: (BigInt(at) - 1n).toString() };
}

function later(a: Place, b: Place | null): Place {
  return b !== null && b.lsn > a.lsn ? { lsn: b.lsn, at: b.at } : a;
}

function knownFrom(columns: readonly KnownColumn[], before: KnownTable | null): KnownTable {
  const attnums = Math.max(before?.attnums ?? 0, ...columns.map(({ attnum }) => attnum));
  return { columns, attnums, filenode: before?.filenode ?? null };
}

/** Of a table that no message came of: good for its definition, not for rows. */
function strangerOf({ oid, table }: PublishedTable): Entry {
  const message = {
    kind: "relation",
    oid,
    schema: table.schema,
    name: table.name,
    identity: "n",
    columns: [],
  } as const;
  return { signature: "", message, columns: [], lsn: "", table: null, changed: null };
}

function withoutKey({ name, typeOid, typeModifier }: KnownColumn): MessageColumn {
  return { name, typeOid, typeModifier, key: false };
}

function textOf(columns: readonly (MessageColumn | KnownColumn)[]): string {
  return JSON.stringify(
    columns.map((column) => [
      "attnum" in column ? column.attnum : null,
      column.name,
      column.typeOid,
      column.typeModifier,
    ]),
  );
}

function signatureOf({ schema, name, identity, columns }: RelationMessage): string {
  return JSON.stringify([schema, name, identity, columns]);
}
