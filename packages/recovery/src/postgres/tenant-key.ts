import type { CatalogColumn } from "./catalog-types.ts";
import { quoteLiteral } from "./identifiers.ts";

/** Families of types whose values have one text each, so that a tenant's key can be compared with them exactly. */
export type KeyFamily = "integer" | "numeric" | "uuid" | "text" | "enum";

const FAMILIES: ReadonlyMap<string, KeyFamily> = new Map([
  ["smallint", "integer"],
  ["integer", "integer"],
  ["bigint", "integer"],
  ["numeric", "numeric"],
  ["uuid", "uuid"],
  ["text", "text"],
  ["character varying", "text"],
  ["bpchar", "text"],
  ["name", "text"],
]);

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const DECIMAL = /^-?(0|[1-9]\d*)(\.\d+)?$/;
const INT8_MAX = 9_223_372_036_854_775_807n;

/** The family of a column that could name a tenant, or null when its type can't (json, timestamps, floats, …). */
export function keyFamily(column: CatalogColumn): KeyFamily | null {
  if (column.typeKind === "enum") return "enum";
  if (column.typeKind === "base" && /(^|\.)citext$/.test(column.baseType)) return "text";
  return FAMILIES.get(column.baseType) ?? null;
}

/**
 * `<operator> <literal>` that compares the column with the key, or null when no value of the column can equal it.
 * The literal gets the column's type without its length: `'abcdef'::varchar(5)` would silently name tenant `abcde`.
 * Integers are compared as bigint (same operator family, so indexes serve), because a key beyond int4 must match nothing.
 */
export function keyComparison(column: CatalogColumn, key: string): string | null {
  const family = keyFamily(column);
  if (family === null || column.equality === null || !canEqual(family, key)) return null;
  const type = family === "integer" ? "bigint" : column.baseType === "name" ? "text" : column.baseType;
  return `${column.equality} ${quoteLiteral(key)}::${type}`;
}

function canEqual(family: KeyFamily, key: string): boolean {
  switch (family) {
    case "integer":
      return /^(0|-?[1-9]\d{0,18})$/.test(key) && BigInt(key) <= INT8_MAX && BigInt(key) >= -INT8_MAX - 1n;
    case "numeric":
      return key.length <= 1_000 && DECIMAL.test(key);
    case "uuid":
      return UUID.test(key);
    case "text":
    case "enum":
      // A NUL can't be stored, and half a surrogate pair would reach the server as U+FFFD: another key.
      return !key.includes("\0") && key.isWellFormed();
  }
}
