import { z } from "zod";
import { type CatalogCache, readCatalog } from "../../postgres/catalog.ts";
import { findTable, tableKey } from "../../postgres/catalog-lookup.ts";
import type { Catalog } from "../../postgres/catalog-types.ts";
import type { Source, SourceClient } from "../../postgres/source.ts";
import type { TableName, Tenancy } from "../../postgres/tenancy.ts";
import { tenantKeyOf } from "../../postgres/tenant-schema.ts";
import { type CapturePlan, type PlannedCapture, planCapture } from "./capture-plan.ts";
import { type CapturedTable, describeTable, typeKey } from "./captured-table.ts";
import type { RelationMessage } from "./pgoutput.ts";
import { type Published, type PublishedTable, readPublished } from "./published-tables.ts";

interface Entry {
  readonly signature: string;
  readonly message: RelationMessage;
  table: CapturedTable | null;
}

/** The tables of a stream, as its relation messages and the source's catalogue have them. */
export class TableBook {
  readonly #source: Source;
  readonly #publicationName: string;
  readonly #cache: CatalogCache;
  readonly #entries = new Map<number, Entry>();
  readonly #typeNames = new Map<string, string>();
  #catalog: Catalog | null = null;
  #plan: CapturePlan = new Map();
  /** What was planned for tables before they were dropped. */
  readonly #earlier = new Map<string, PlannedCapture>();
  #published: Published | null = null;

  constructor(source: Source, publicationName: string, cache: CatalogCache) {
    this.#source = source;
    this.#publicationName = publicationName;
    this.#cache = cache;
  }

  get plan(): CapturePlan {
    return this.#plan;
  }

  /** Null: its changes are nobody's to log. Undefined: no relation message came. */
  get(oid: number): CapturedTable | null | undefined {
    return this.#entries.get(oid)?.table;
  }

  /** Whether `learn` has something to do: the same message comes again after every VACUUM and ANALYZE. */
  isNews(message: RelationMessage): boolean {
    return this.#entries.get(message.oid)?.signature !== signatureOf(message);
  }

  /** Takes a relation message in. Errors leave as RecoveryError. */
  async learn(message: RelationMessage, signal: AbortSignal): Promise<void> {
    await this.#source.connect(
      async (client) => {
        const types = message.columns.filter((column) => !this.#typeNames.has(typeKey(column)));
        if (types.length > 0) await this.#readTypeNames(client, types);
        if (!this.#catalogHas(message)) await this.#read(client);
        const entry: Entry = { signature: signatureOf(message), message, table: null };
        this.#entries.set(message.oid, entry);
        this.#describe(entry);
      },
      { signal },
    );
  }

  /** Reads the catalogue again, and sees every table anew: a new foreign key may lead to an old table. Errors as of the driver. */
  async refresh(client: SourceClient): Promise<Published> {
    return await this.#read(client);
  }

  /** Whether the source has a table of this name now. */
  hasNow(table: TableName): boolean {
    return this.#catalog !== null && findTable(this.#catalog, table) !== undefined;
  }

  #catalogHas(message: RelationMessage): boolean {
    const table = this.#published?.tables.find((candidate) => candidate.oid === message.oid);
    if (table === undefined) return false;
    const { schema, name } = table.table;
    return (
      schema === message.schema &&
      name === message.name &&
      message.columns.every((column) =>
        table.columns.some((known) => known.name === column.name && known.typeOid === column.typeOid),
      )
    );
  }

  async #read(client: SourceClient): Promise<Published> {
    const catalog = await readCatalog(client, this.#cache);
    const published = await readPublished(client, this.#publicationName);
    this.#published = published;
    if (catalog !== this.#catalog) {
      this.#catalog = catalog;
      for (const [key, planned] of this.#plan) this.#earlier.set(key, planned);
      this.#plan = planCapture(catalog, this.#source.tenancy, this.#source.rules);
      for (const entry of this.#entries.values()) this.#describe(entry);
    }
    return published;
  }

  #describe(entry: Entry): void {
    const { message } = entry;
    const published = this.#published?.tables.find((candidate) => candidate.oid === message.oid) ?? null;
    const table = describeTable(message, this.#planned(message, published), published, this.#typeNames);
    // The same object for as long as it says the same: a segment lists a relation once.
    entry.table =
      table !== null && entry.table !== null && JSON.stringify(entry.table.relation) === JSON.stringify(table.relation)
        ? { ...table, relation: entry.table.relation }
        : table;
  }

  /** The catalogue is later than the stream: the table may have another name by now, or be gone. */
  #planned(message: RelationMessage, published: PublishedTable | null): PlannedCapture | undefined {
    const named = { schema: message.schema, name: message.name };
    const planned = this.#plan.get(tableKey(named)) ?? (published && this.#plan.get(tableKey(published.table)));
    if (planned || this.hasNow(named)) return planned ?? undefined;
    return this.#earlier.get(tableKey(named)) ?? guessPlan(message, this.#source.tenancy);
  }

  async #readTypeNames(client: SourceClient, columns: RelationMessage["columns"]): Promise<void> {
    const { rows } = await client.query(
      "SELECT pg_catalog.format_type(t.oid, t.modifier) AS name FROM unnest($1::oid[], $2::int[]) AS t(oid, modifier)",
      [columns.map((column) => column.typeOid), columns.map((column) => column.typeModifier)],
    );
    for (const [index, { name }] of z
      .array(z.object({ name: z.string() }))
      .parse(rows)
      .entries()) {
      const column = columns[index];
      if (column !== undefined) this.#typeNames.set(typeKey(column), name);
    }
  }
}

/** Of a table that was dropped before anybody saw it: what its columns or its schema say by themselves. */
function guessPlan(message: RelationMessage, tenancy: Tenancy): PlannedCapture | undefined {
  const table = { schema: message.schema, name: message.name };
  if (tenancy.mode === "schema") {
    const tenant = tenantKeyOf(tenancy, message.schema);
    return tenant === null
      ? undefined
      : { table, scope: { kind: "schema" }, rule: { kind: "constant", tenant }, leadTo: [] };
  }
  const { column } = tenancy;
  if (!message.columns.some((candidate) => candidate.name === column)) return undefined;
  return { table, scope: { kind: "direct", column }, rule: { kind: "column", column }, leadTo: [] };
}

function signatureOf({ schema, name, identity, columns }: RelationMessage): string {
  return JSON.stringify([schema, name, identity, columns]);
}
