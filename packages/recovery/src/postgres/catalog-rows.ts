import { z } from "zod";
import { TableName } from "./tenancy.ts";

const Oid = z.int();
const Names = z.array(z.string());
const Action = z.enum(["a", "r", "c", "n", "d"]);

/** What the queries of catalog-sql.ts answer, row by row. */
export const CatalogRows = {
  role: z.object({ name: z.string(), superuser: z.boolean(), bypassRls: z.boolean(), serverVersionNumber: z.int() }),
  table: z.object({
    oid: Oid,
    schema: z.string(),
    name: z.string(),
    kind: z.enum(["r", "p", "f"]),
    unlogged: z.boolean(),
    rlsEnabled: z.boolean(),
    rlsForced: z.boolean(),
    rlsActive: z.boolean(),
    hasRules: z.boolean(),
    usage: z.boolean(),
    select: z.boolean(),
    insert: z.boolean(),
    update: z.boolean(),
    delete: z.boolean(),
    partitions: z.array(TableName),
    foreignPartitions: z.boolean(),
    estimatedRows: z.number(),
    bytes: z.number(),
    inheritsFrom: z.array(TableName),
    hasInheritanceChildren: z.boolean(),
  }),
  column: z.object({
    oid: Oid,
    name: z.string(),
    attnum: z.int(),
    type: z.string(),
    typeOid: Oid,
    notNull: z.boolean(),
    generated: z.enum(["", "s", "v"]),
    identity: z.enum(["", "a", "d"]),
    default: z.string().nullable(),
    typeKind: z.enum(["base", "array", "enum", "composite", "range", "multirange", "pseudo"]),
    baseType: z.string(),
    equality: z.string().nullable(),
  }),
  uniqueIndex: z.object({
    oid: Oid,
    name: z.string(),
    primary: z.boolean(),
    deferrable: z.boolean(),
    nullsNotDistinct: z.boolean(),
    simple: z.boolean(),
    definition: z.string(),
    /** Null when the index is on expressions only. */
    columns: Names.nullable(),
    notNull: z.boolean().nullable(),
  }),
  foreignKey: z.object({
    constraint: z.string(),
    fromOid: Oid,
    toOid: Oid,
    columns: Names,
    notNull: z.boolean(),
    referenced: Names,
    operators: Names,
    deferrable: z.boolean(),
    initiallyDeferred: z.boolean(),
    onDelete: Action,
    onUpdate: Action,
    matchFull: z.boolean(),
    enforced: z.boolean(),
    partial: z.boolean(),
  }),
  trigger: z.object({ oid: Oid, name: z.string(), type: z.int(), enabled: z.enum(["O", "D", "R", "A"]) }),
  sequence: z.object({ oid: Oid, schema: z.string(), name: z.string(), column: z.string(), identity: z.boolean() }),
};

export type TableRow = z.infer<typeof CatalogRows.table>;
export type ColumnRow = z.infer<typeof CatalogRows.column>;
export type UniqueIndexRow = z.infer<typeof CatalogRows.uniqueIndex>;
export type ForeignKeyRow = z.infer<typeof CatalogRows.foreignKey>;
export type TriggerRow = z.infer<typeof CatalogRows.trigger>;
export type SequenceRow = z.infer<typeof CatalogRows.sequence>;
