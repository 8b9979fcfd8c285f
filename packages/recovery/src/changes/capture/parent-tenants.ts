import { z } from "zod";
import type { SourceClient } from "../../postgres/source.ts";
import type { Route } from "./capture-plan.ts";
import { isOlder } from "./published-tables.ts";

/** Entries of each half: some 50 MB with keys of 30 characters. What is used stays; the rest can be looked up again. */
const HALF = 100_000;
/** Keys asked for in one query. */
const MOST_KEYS = 5_000;

/** Values of a parent's referenced columns, as texts. */
export type ParentKey = readonly string[];

/** The tenants of the parents that rows refer to: as the stream told, else as the database says. Bounded. */
export class ParentTenants {
  #young = new Map<string, string | null>();
  #old = new Map<string, string | null>();
  /** Those that the database does not have either, or has only in a later version: told by `lookUp`, good until the next. */
  readonly #unknown = new Set<string>();

  /** The parent's tenant; null: nobody's; undefined: not known yet. */
  get(route: Route, key: ParentKey): string | null | undefined {
    const id = idOf(route, key);
    const young = this.#young.get(id);
    if (young !== undefined) return young;
    const old = this.#old.get(id);
    if (old !== undefined) this.#put(id, old);
    return old;
  }

  /** Whether the last `lookUp` looked for it in vain. */
  isUnknown(route: Route, key: ParentKey): boolean {
    return this.#unknown.has(idOf(route, key));
  }

  set(route: Route, key: ParentKey, tenant: string | null): void {
    this.#put(idOf(route, key), tenant);
  }

  /** After a parent changed its tenant: whatever stands behind it did too. */
  clear(): void {
    this.#young.clear();
    this.#old.clear();
  }

  /**
   * Asks the database for the tenants of these parents. It shows the present, which is later than the stream: a parent that was
   * written since `xid` may be another row than the change meant, and stays unknown.
   */
  async lookUp(client: SourceClient, wanted: ReadonlyMap<Route, readonly ParentKey[]>, xid: bigint): Promise<void> {
    this.#unknown.clear();
    for (const [route, keys] of wanted) {
      for (let from = 0; from < keys.length; from += MOST_KEYS) {
        const some = keys.slice(from, from + MOST_KEYS);
        for (const key of some) this.#unknown.add(idOf(route, key));
        await this.#ask(client, route, some, xid);
      }
    }
  }

  async #ask(client: SourceClient, route: Route, keys: readonly ParentKey[], xid: bigint): Promise<void> {
    const columns = route.referenced.map((_, column) => keys.map((key) => key[column]));
    for (const { position, tenant, xmins } of Answers.parse((await client.query(route.sql, columns)).rows)) {
      const key = keys[position - 1];
      if (key === undefined || !xmins.every((xmin) => isOlder(xmin, xid))) continue;
      this.set(route, key, tenant);
      this.#unknown.delete(idOf(route, key));
    }
  }

  #put(id: string, tenant: string | null): void {
    if (this.#young.size >= HALF) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(id, tenant);
  }
}

const Answers = z.array(z.object({ position: z.int(), tenant: z.string().nullable(), xmins: z.array(z.string()) }));

function idOf(route: Route, key: ParentKey): string {
  return key.length === 1 ? `${route.id}\0${key[0]}` : `${route.id}\0${key.join("\0")}`;
}
