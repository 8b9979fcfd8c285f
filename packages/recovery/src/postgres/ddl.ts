import { z } from "zod";
import { findTable } from "./catalog-lookup.ts";
import type { Catalog } from "./catalog-types.ts";
import * as sql from "./ddl-sql.ts";
import { DdlRows, writeDdl } from "./ddl-text.ts";
import type { SourceClient } from "./source.ts";
import type { TableName } from "./tenancy.ts";

const REMEMBERED = new WeakMap<Catalog, Map<string, string>>();

/**
 * DDL of these tables and of the types, sequences and schemas they need: enough to create them, by psql, in an empty database.
 * Left out, because a table does not need them to hold its rows: triggers, policies, rights, functions, comments, statistics, storage
 * options. A default or check that calls a user's function needs that function made first.
 * Read in a handful of queries, and kept with the catalogue: a second call for the same catalogue and tables costs nothing.
 */
export async function readDdl(client: SourceClient, catalog: Catalog, tables: readonly TableName[]): Promise<string> {
  const oids = tables.flatMap((table) => findTable(catalog, table)?.oid ?? []).toSorted((a, b) => a - b);
  const known = REMEMBERED.get(catalog) ?? new Map<string, string>();
  REMEMBERED.set(catalog, known);
  const remembered = known.get(oids.join());
  if (remembered !== undefined) return remembered;
  const read = async <T>(query: string, row: z.ZodType<T>): Promise<T[]> =>
    z.array(row).parse((await client.query(query, [oids])).rows);
  const ddl = writeDdl({
    relations: await read(sql.RELATIONS, DdlRows.relation),
    columns: await read(sql.COLUMNS, DdlRows.column),
    sequences: await read(sql.SEQUENCES, DdlRows.sequence),
    types: await read(sql.TYPES, DdlRows.type),
    constraints: await read(sql.CONSTRAINTS, DdlRows.constraint),
    indexes: await read(sql.INDEXES, DdlRows.index),
  });
  known.set(oids.join(), ddl);
  return ddl;
}
