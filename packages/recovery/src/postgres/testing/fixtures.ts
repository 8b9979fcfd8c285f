import { readFile } from "node:fs/promises";

/** Keys of the tenants that hard-types.sql makes; `empty` has its row in `hard.tenants` and nothing else. */
export const HARD_TENANTS = {
  a: "00000000-0000-4000-8000-00000000000a",
  b: "00000000-0000-4000-8000-00000000000b",
  empty: "00000000-0000-4000-8000-00000000000c",
} as const;

/** SQL that builds the schema `hard` in an empty database: every column type and shape of table. Run it as a superuser. */
export function hardTypesSql(): Promise<string> {
  return readFile(new URL("hard-types.sql", import.meta.url), "utf8");
}
