import { randomUUID } from "node:crypto";
import { type TestDatabase, testDatabase, testFolder } from "@rowback/local-services/testing";
import { type ObjectStore, openStore } from "@rowback/storage";
import pg from "pg";
import { onTestFinished } from "vitest";
import { backupTenant } from "../../backup/run.ts";
import { openSource } from "../../postgres/source.ts";
import type { ScopeRule, Tenancy } from "../../postgres/tenancy.ts";
import type { Progress, VerbContext } from "../../verb-context.ts";
import { applyRestore } from "../apply.ts";
import type { RestoreExpectation, RestoreOutcome, RestorePlan, RestoreRequest } from "../plan.ts";
import { previewRestore } from "../preview.ts";

/** One control-plane tenant for every test; the source's key tells tenants apart. */
export const TENANT_ID = "11111111-1111-4111-8111-111111111111";

export interface WorldOptions {
  readonly tenancy?: Tenancy;
  readonly rules?: readonly ScopeRule[];
  /** SQL that builds the source. */
  readonly sql: string;
  /** Connects as another role than the superuser. */
  readonly url?: (db: TestDatabase) => Promise<string>;
}

/** A source database, a store, and the verbs on them. */
export class World {
  readonly db: TestDatabase;
  readonly store: ObjectStore;
  readonly ctx: VerbContext;
  readonly progress: Progress[] = [];

  constructor(db: TestDatabase, store: ObjectStore, ctx: VerbContext) {
    this.db = db;
    this.store = store;
    this.ctx = { ...ctx, onProgress: (progress) => this.progress.push(progress) };
  }

  /** The id of a new backup. */
  async backup(tenantKey: string, tables: readonly string[] | null = null): Promise<string> {
    const backupId = randomUUID();
    await backupTenant(this.ctx, { backupId, tenantId: TENANT_ID, tenantKey, tables });
    return backupId;
  }

  preview(tenantKey: string, backupId: string, wish: Partial<RestoreRequest> = {}): Promise<RestorePlan> {
    return previewRestore(this.ctx, request(tenantKey, backupId, wish));
  }

  apply(
    tenantKey: string,
    backupId: string,
    wish: Partial<RestoreRequest> & { readonly expect?: RestoreExpectation | null } = {},
    signal: AbortSignal = this.ctx.signal,
  ): Promise<RestoreOutcome> {
    const { expect = null, ...rest } = wish;
    return applyRestore({ ...this.ctx, signal }, { ...request(tenantKey, backupId, rest), expect });
  }

  async sql(...statements: readonly string[]): Promise<void> {
    for (const statement of statements) await this.db.pool.query(statement);
  }

  /** Every row of every table as text, by table: what "byte for byte" means. `where`: a condition over the row's text. */
  async rows(where: (text: string) => boolean = () => true): Promise<Record<string, string[]>> {
    const client = await this.db.pool.connect();
    try {
      await client.query(
        "BEGIN; SET LOCAL TimeZone = 'UTC'; SET LOCAL extra_float_digits = 3; SET LOCAL search_path = ''",
      );
      // Virtual columns are computed when read, and may fail to be.
      const tables = await client.query<{ name: string; columns: string }>(
        `SELECT format('%I.%I', n.nspname, c.relname) AS name,
                (SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v') AS columns
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1`,
      );
      const found: Record<string, string[]> = {};
      for (const { name, columns } of tables.rows) {
        const { rows } = await client.query<{ text: string }>(`SELECT ROW(${columns})::text AS text FROM ${name} AS t`);
        found[name] = rows
          .map((row) => row.text)
          .filter(where)
          .sort();
      }
      return found;
    } finally {
      await client.query("ROLLBACK");
      client.release();
    }
  }
}

/** By table: rows to insert, update, delete, and left alone. */
export function countsOf(plan: RestorePlan): Record<string, number[]> {
  return Object.fromEntries(plan.tables.map((t) => [t.table, [t.insert, t.update, t.delete, t.unchanged]]));
}

function request(tenantKey: string, backupId: string, wish: Partial<RestoreRequest>): RestoreRequest {
  return {
    tenantId: TENANT_ID,
    tenantKey,
    backupId,
    mode: "exact",
    tables: null,
    keys: null,
    triggers: "suppress",
    ...wish,
  };
}

/** Fresh database and store, gone when the test ends. */
export async function restoreWorld(options: WorldOptions, store: ObjectStore = folderStore()): Promise<World> {
  const db = await testDatabase("restore");
  await db.pool.query(options.sql);
  const source = openSource({
    id: randomUUID(),
    connectionString: (await options.url?.(db)) ?? db.url,
    tenancy: options.tenancy ?? { mode: "column", column: "tenant_id" },
    rules: options.rules ?? [],
    maxConnections: 3,
  });
  onTestFinished(() => source.close());
  const silent = (): void => {};
  return new World(db, store, {
    store,
    source,
    clock: { now: () => new Date() },
    log: { debug: silent, info: silent, warn: silent, error: silent },
    signal: new AbortController().signal,
  });
}

function folderStore(): ObjectStore {
  const store = openStore({ driver: "filesystem", root: testFolder() });
  onTestFinished(() => store.close());
  return store;
}

/** A connection of its own, for what another user of the source does meanwhile. */
export async function anotherUser(world: World): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: world.db.url, application_name: "another-user" });
  await client.connect();
  onTestFinished(() => client.end());
  return client;
}
