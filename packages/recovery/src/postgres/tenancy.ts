import { z } from "zod";

/** A table's name as the catalogue has it: unquoted, case kept. */
export const TableName = z.object({ schema: z.string().min(1), name: z.string().min(1) });
export type TableName = z.infer<typeof TableName>;

/** `schema.name`, for people and for map keys; never for SQL (see `quoteTable`). */
export function tableLabel(table: TableName): string {
  return `${table.schema}.${table.name}`;
}

/** How a source keeps its tenants apart. */
export const Tenancy = z.discriminatedUnion("mode", [
  z.object({
    mode: z.literal("column"),
    /** The column that names the tenant in directly scoped tables, e.g. `tenant_id`. */
    column: z.string().min(1),
    /** The tenants table itself; found through the foreign keys of `column` when left out. */
    root: TableName.optional(),
  }),
  z.object({
    mode: z.literal("schema"),
    /** The schema's name with `{key}` in the tenant's place, e.g. `tenant_{key}`. */
    pattern: z.string().includes("{key}"),
  }),
]);
export type Tenancy = z.infer<typeof Tenancy>;

/** One foreign-key hop, from the table it starts at: `columns[i]` of the near table equals `referenced[i]` of `to`. */
export const ForeignKeyStep = z.object({
  constraint: z.string(),
  to: TableName,
  columns: z.array(z.string()).min(1),
  referenced: z.array(z.string()).min(1),
});
export type ForeignKeyStep = z.infer<typeof ForeignKeyStep>;

/** How a table's rows are tied to a tenant (DESIGN §1). */
export const TableScope = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("root"), column: z.string() }),
  z.object({ kind: z.literal("direct"), column: z.string() }),
  /** `path` walks from this table to the first directly scoped (or root) table; `column` names the tenant there. */
  z.object({ kind: z.literal("via"), path: z.array(ForeignKeyStep).min(1), column: z.string() }),
  z.object({ kind: z.literal("schema") }),
  /** Nobody's rows, by an operator's word or because no foreign key leads to a tenant and none was asked for; not backed up. */
  z.object({ kind: z.literal("shared") }),
]);
export type TableScope = z.infer<typeof TableScope>;

/** An operator's word on one table; it settles what discovery can't. */
export const ScopeRule = z.object({
  table: TableName,
  scope: z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("direct"), column: z.string().min(1) }),
    /** The constraint names of the foreign keys to follow, in order, from this table. */
    z.object({ kind: z.literal("via"), constraints: z.array(z.string().min(1)).min(1) }),
    z.object({ kind: z.literal("shared") }),
  ]),
});
export type ScopeRule = z.infer<typeof ScopeRule>;
