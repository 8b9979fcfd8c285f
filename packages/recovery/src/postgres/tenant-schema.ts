import type { Tenancy } from "./tenancy.ts";

/** The key of the tenant whose schema this is, or null when the schema is no tenant's. Schema mode only. */
export function tenantKeyOf(tenancy: Tenancy & { mode: "schema" }, schema: string): string | null {
  const [first = "", ...others] = tenancy.pattern
    .split("{key}")
    .map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  const match = new RegExp(`^${first}(.+)${others.join("\\1")}$`, "su").exec(schema);
  return match?.[1] ?? null;
}
