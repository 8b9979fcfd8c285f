import type { Catalog, CatalogTable, ForeignKey } from "../../postgres/catalog-types.ts";
import { type TableName, tableLabel } from "../../postgres/tenancy.ts";

/** A table as the catalogue would have it: `id`, `tenant_id` and a generated column, readable, without anything special. */
export function catalogTable(name: string, overrides: Partial<CatalogTable> = {}): CatalogTable {
  return {
    table: { schema: "app", name },
    oid: 1,
    kind: "table",
    persistence: "permanent",
    columns: [column("id", 1), column("tenant_id", 2), { ...column("twice", 3), generated: "stored" }],
    key: ["id"],
    keyIsPrimary: true,
    uniqueConstraints: [],
    otherUniqueIndexes: [],
    triggers: [],
    rowSecurity: { enabled: false, forced: false, active: false },
    privileges: { usage: true, select: true, insert: true, update: true, delete: true },
    hasInheritanceChildren: false,
    inheritsFrom: [],
    partitions: [],
    estimatedRows: 10,
    bytes: 8_192,
    ownedSequences: [],
    ...overrides,
  };
}

export function catalogOf(tables: readonly CatalogTable[], foreignKeys: readonly ForeignKey[] = []): Catalog {
  const role = { name: "reader", superuser: false, bypassRls: false, canSetReplicationRole: false };
  return { stamp: "1", tables, foreignKeys, role, serverVersionNumber: 180_000 };
}

/** `from.to_id` → `to.id`. */
export function foreignKey(from: string, to: string): ForeignKey {
  const table = (name: string): TableName => ({ schema: "app", name });
  return {
    constraint: `${tableLabel(table(from))}_${to}_fkey`,
    from: table(from),
    columns: ["tenant_id"],
    to: table(to),
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
  };
}

function column(name: string, attnum: number): CatalogTable["columns"][number] {
  return {
    name,
    attnum,
    type: "integer",
    typeOid: 23,
    notNull: true,
    generated: null,
    identity: null,
    default: null,
    typeKind: "base",
    baseType: "integer",
    equality: "OPERATOR(pg_catalog.=)",
  };
}
