import { z } from "zod";
import { buildForeignKeys, buildTables } from "./catalog-build.ts";
import { CatalogRows } from "./catalog-rows.ts";
import * as sql from "./catalog-sql.ts";
import { readStamp } from "./catalog-stamp.ts";
import type { Catalog } from "./catalog-types.ts";
import type { SourceClient } from "./source.ts";

/** Sizes are not part of the stamp; a table that grew for longer than this would be planned as if it were still small. */
const SIZES_GO_STALE_AFTER_MS = 15 * 60_000;

/** The last catalogue read of one source, reused while its stamp holds. */
export class CatalogCache {
  #catalog: Catalog | null = null;
  #readAt = 0;

  /** The cached catalogue when it has this stamp (and is not older than a quarter of an hour), else null. */
  get(stamp: string): Catalog | null {
    const fresh = performance.now() - this.#readAt < SIZES_GO_STALE_AFTER_MS;
    return fresh && this.#catalog?.stamp === stamp ? this.#catalog : null;
  }

  set(catalog: Catalog): void {
    this.#catalog = catalog;
    this.#readAt = performance.now();
  }
}

/**
 * The source's tables, keys, foreign keys and rights, as this session's snapshot sees them.
 * One round trip while the cache's stamp holds; a handful of queries otherwise, whatever the number of tables.
 * Errors of the driver pass through (`Source.connect` turns them into RecoveryError).
 */
export async function readCatalog(client: SourceClient, cache?: CatalogCache): Promise<Catalog> {
  const stamp = await readStamp(client);
  const cached = cache?.get(stamp) ?? null;
  if (cached !== null) return cached;
  const catalog = await readAll(client, stamp);
  cache?.set(catalog);
  return catalog;
}

async function readAll(client: SourceClient, stamp: string): Promise<Catalog> {
  const read = async <T>(query: string, row: z.ZodType<T>): Promise<T[]> =>
    z.array(row).parse((await client.query(query)).rows);
  const [role] = await read(sql.ROLE, CatalogRows.role);
  if (role === undefined) throw new Error("pg_roles has no row for the current user.");
  const { serverVersionNumber, ...who } = role;
  const tables = buildTables({
    tables: await read(sql.TABLES, CatalogRows.table),
    columns: await read(sql.COLUMNS, CatalogRows.column),
    uniqueIndexes: await read(sql.UNIQUE_INDEXES, CatalogRows.uniqueIndex),
    triggers: await read(sql.TRIGGERS, CatalogRows.trigger),
    sequences: await read(sql.SEQUENCES, CatalogRows.sequence),
  });
  return {
    stamp,
    tables,
    foreignKeys: buildForeignKeys(await read(sql.FOREIGN_KEYS, CatalogRows.foreignKey), tables),
    role: { ...who, canSetReplicationRole: await maySetReplicationRole(client, role) },
    serverVersionNumber,
  };
}

async function maySetReplicationRole(client: SourceClient, role: z.infer<typeof CatalogRows.role>): Promise<boolean> {
  if (role.superuser) return true;
  if (role.serverVersionNumber < 150_000) return false;
  const { rows } = await client.query(sql.MAY_SET_REPLICATION_ROLE);
  return z.object({ allowed: z.boolean() }).parse(rows[0]).allowed;
}
