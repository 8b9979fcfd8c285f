import { compareTables } from "../catalog-build.ts";
import type { Catalog, CatalogColumn, CatalogTable, ForeignKey } from "../catalog-types.ts";

/** A column as the catalogue would have it; `uuid NOT NULL` unless told. */
export function column(name: string, fields: Partial<CatalogColumn> = {}): CatalogColumn {
  return {
    name,
    attnum: 1,
    type: "uuid",
    typeOid: 2950,
    notNull: true,
    generated: null,
    identity: null,
    default: null,
    typeKind: "base",
    baseType: fields.type ?? "uuid",
    equality: "OPERATOR(pg_catalog.=)",
    ...fields,
  };
}

/** A plain table in schema `app` with primary key `id`, all rights, and these further columns. */
export function table(
  name: string,
  columns: readonly (string | CatalogColumn)[] = [],
  fields: Partial<CatalogTable> = {},
): CatalogTable {
  const all = ["id", ...columns].map((one) => (typeof one === "string" ? column(one) : one));
  return {
    table: { schema: "app", name },
    oid: 1,
    kind: "table",
    persistence: "permanent",
    columns: all,
    key: ["id"],
    keyIsPrimary: true,
    uniqueConstraints: [
      {
        name: `${name}_pkey`,
        columns: ["id"],
        primary: true,
        deferrable: false,
        notNull: true,
        nullsNotDistinct: false,
      },
    ],
    otherUniqueIndexes: [],
    triggers: [],
    rowSecurity: { enabled: false, forced: false, active: false },
    privileges: { usage: true, select: true, insert: true, update: true, delete: true },
    hasRules: false,
    hasInheritanceChildren: false,
    inheritsFrom: [],
    partitions: [],
    foreignPartitions: false,
    estimatedRows: 0,
    bytes: 0,
    ownedSequences: [],
    ...fields,
  };
}

/** `from.column → to.id`; NOT NULL and enforced unless told. */
export function foreignKey(from: string, columnName: string, to: string, fields: Partial<ForeignKey> = {}): ForeignKey {
  return {
    constraint: `${from}_${columnName}_fkey`,
    from: { schema: "app", name: from },
    columns: [columnName],
    to: { schema: "app", name: to },
    referenced: ["id"],
    operators: ["OPERATOR(pg_catalog.=)"],
    deferrable: false,
    initiallyDeferred: false,
    onDelete: "no action",
    onUpdate: "no action",
    matchFull: false,
    notNull: true,
    enforced: true,
    partial: false,
    ...fields,
  };
}

export function catalog(tables: readonly CatalogTable[], foreignKeys: readonly ForeignKey[] = []): Catalog {
  return {
    stamp: "stamp",
    tables: tables.toSorted((a, b) => compareTables(a.table, b.table)),
    foreignKeys,
    role: { name: "rowback", superuser: false, bypassRls: false, canSetReplicationRole: false },
    serverVersionNumber: 180_004,
  };
}
