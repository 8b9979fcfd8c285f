import pg from "pg";
import type { TableName } from "./tenancy.ts";

/** An identifier for SQL, always quoted: `Order` → `"Order"`. */
export function quoteName(name: string): string {
  return pg.escapeIdentifier(name);
}

/** A table for SQL, schema and name quoted: `"app"."Order"`. */
export function quoteTable(table: TableName): string {
  return `${quoteName(table.schema)}.${quoteName(table.name)}`;
}

/** A list of columns for SQL: `"id", "Name"`. */
export function quoteColumns(columns: readonly string[]): string {
  return columns.map(quoteName).join(", ");
}

/** A string for SQL, quoted and escaped: `it's` → `'it''s'`. */
export function quoteLiteral(value: string): string {
  return pg.escapeLiteral(value).trimStart();
}
