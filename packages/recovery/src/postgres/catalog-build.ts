import type { ColumnRow, ForeignKeyRow, SequenceRow, TableRow, TriggerRow, UniqueIndexRow } from "./catalog-rows.ts";
import type { CatalogColumn, CatalogTable, CatalogTrigger, ForeignKey, UniqueConstraint } from "./catalog-types.ts";
import type { TableName } from "./tenancy.ts";

export interface TableRows {
  readonly tables: readonly TableRow[];
  readonly columns: readonly ColumnRow[];
  readonly uniqueIndexes: readonly UniqueIndexRow[];
  readonly triggers: readonly TriggerRow[];
  readonly sequences: readonly SequenceRow[];
}

/** The rows of the catalogue queries, put together per table. Pure. */
export function buildTables(rows: TableRows): CatalogTable[] {
  const columns = Map.groupBy(rows.columns, (row) => row.oid);
  const indexes = Map.groupBy(rows.uniqueIndexes, (row) => row.oid);
  const triggers = Map.groupBy(rows.triggers, (row) => row.oid);
  const sequences = Map.groupBy(rows.sequences, (row) => row.oid);
  const kinds = { r: "table", p: "partitioned", f: "foreign" } as const;
  return rows.tables
    .map((row): CatalogTable => {
      const unique = (indexes.get(row.oid) ?? []).toSorted((a, b) => compare(a.name, b.name));
      const uniqueConstraints = unique.filter((index) => index.simple).map(toUniqueConstraint);
      const key = chooseKey(uniqueConstraints);
      return {
        table: { schema: row.schema, name: row.name },
        oid: row.oid,
        kind: kinds[row.kind],
        persistence: row.unlogged ? "unlogged" : "permanent",
        columns: (columns.get(row.oid) ?? []).map(toColumn),
        key: key?.columns ?? null,
        keyIsPrimary: key?.primary ?? false,
        uniqueConstraints,
        otherUniqueIndexes: unique
          .filter((index) => !index.simple)
          .map(({ name, definition }) => ({ name, definition })),
        triggers: (triggers.get(row.oid) ?? []).map(toTrigger).toSorted((a, b) => compare(a.name, b.name)),
        rowSecurity: { enabled: row.rlsEnabled, forced: row.rlsForced, active: row.rlsActive },
        privileges: {
          usage: row.usage,
          select: row.select,
          insert: row.insert,
          update: row.update,
          delete: row.delete,
        },
        hasRules: row.hasRules,
        hasInheritanceChildren: row.hasInheritanceChildren,
        inheritsFrom: row.inheritsFrom,
        partitions: row.partitions.toSorted(compareTables),
        foreignPartitions: row.foreignPartitions,
        estimatedRows: row.estimatedRows,
        bytes: row.bytes,
        ownedSequences: (sequences.get(row.oid) ?? [])
          .map(({ schema, name, column, identity }) => ({ sequence: { schema, name }, column, identity }))
          .toSorted((a, b) => compare(a.column, b.column) || compareTables(a.sequence, b.sequence)),
      };
    })
    .toSorted((a, b) => compareTables(a.table, b.table));
}

/** The foreign keys between these tables, ordered by table and name. Pure. */
export function buildForeignKeys(rows: readonly ForeignKeyRow[], tables: readonly CatalogTable[]): ForeignKey[] {
  const names = new Map(tables.map((table) => [table.oid, table.table]));
  const actions = { a: "no action", r: "restrict", c: "cascade", n: "set null", d: "set default" } as const;
  return rows
    .flatMap(({ fromOid, toOid, onDelete, onUpdate, ...row }): ForeignKey[] => {
      const from = names.get(fromOid);
      const to = names.get(toOid);
      if (from === undefined || to === undefined) return [];
      return [{ ...row, from, to, onDelete: actions[onDelete], onUpdate: actions[onUpdate] }];
    })
    .toSorted((a, b) => compareTables(a.from, b.from) || compare(a.constraint, b.constraint));
}

/** By code unit, so that every machine and locale agrees. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function compareTables(a: TableName, b: TableName): number {
  return compare(a.schema, b.schema) || compare(a.name, b.name);
}

/** The primary key; else the shortest NOT NULL unique constraint that is checked at once. */
function chooseKey(constraints: readonly UniqueConstraint[]): UniqueConstraint | undefined {
  const usable = constraints.filter((one) => one.primary || (one.notNull && !one.deferrable));
  return (
    usable.find((one) => one.primary) ??
    usable.toSorted((a, b) => a.columns.length - b.columns.length || compare(a.name, b.name))[0]
  );
}

function toColumn({ oid: _table, generated, identity, ...row }: ColumnRow): CatalogColumn {
  return {
    ...row,
    generated: ({ "": null, s: "stored", v: "virtual" } as const)[generated],
    identity: ({ "": null, a: "always", d: "by default" } as const)[identity],
  };
}

function toUniqueConstraint(row: UniqueIndexRow): UniqueConstraint {
  const { name, primary, deferrable, nullsNotDistinct } = row;
  return { name, columns: row.columns ?? [], primary, deferrable, notNull: row.notNull ?? false, nullsNotDistinct };
}

/** The bits of `pg_trigger.tgtype` (PostgreSQL source, catalog/pg_trigger.h). */
function toTrigger({ name, type, enabled }: TriggerRow): CatalogTrigger {
  const has = (bit: number): boolean => (type & bit) !== 0;
  const events = (["insert", "delete", "update", "truncate"] as const).filter((_, index) => has(4 << index));
  return {
    name,
    timing: has(2) ? "before" : has(64) ? "instead of" : "after",
    events,
    level: has(1) ? "row" : "statement",
    enabled: ({ O: "origin", A: "always", R: "replica", D: "disabled" } as const)[enabled],
  };
}
