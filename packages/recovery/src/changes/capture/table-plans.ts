import { findTable, tableKey } from "../../postgres/catalog-lookup.ts";
import type { Catalog } from "../../postgres/catalog-types.ts";
import type { Source } from "../../postgres/source.ts";
import type { TableName, Tenancy } from "../../postgres/tenancy.ts";
import { tenantKeyOf } from "../../postgres/tenant-schema.ts";
import { type CapturePlan, type PlannedCapture, planCapture } from "./capture-plan.ts";
import type { RelationMessage } from "./pgoutput.ts";

/** What is planned for the tables that messages name. The catalogue is later than the stream: a table may have another name by now, or be gone. */
export class TablePlans {
  readonly #source: Source;
  #catalog: Catalog | null = null;
  #plan: CapturePlan = new Map();
  /** What was planned for tables before they were dropped. */
  readonly #earlier = new Map<string, PlannedCapture>();

  constructor(source: Source) {
    this.#source = source;
  }

  /** Of the catalogue that was read last. */
  get now(): CapturePlan {
    return this.#plan;
  }

  /** Plans anew where the catalogue is another. False: it is not. */
  refresh(catalog: Catalog): boolean {
    if (catalog === this.#catalog) return false;
    this.#catalog = catalog;
    for (const [key, planned] of this.#plan) this.#earlier.set(key, planned);
    this.#plan = planCapture(catalog, this.#source.tenancy, this.#source.rules);
    return true;
  }

  /** Whether the source has a table of this name now. */
  hasNow(table: TableName): boolean {
    return this.#catalog !== null && findTable(this.#catalog, table) !== undefined;
  }

  /** @param now the name that the message's table has now, if it is there */
  of(message: RelationMessage, now: TableName | undefined): PlannedCapture | undefined {
    const named = { schema: message.schema, name: message.name };
    const planned = this.#plan.get(tableKey(named)) ?? (now && this.#plan.get(tableKey(now)));
    if (planned || this.hasNow(named)) return planned ?? undefined;
    return this.#earlier.get(tableKey(named)) ?? guessPlan(message, this.#source.tenancy);
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
