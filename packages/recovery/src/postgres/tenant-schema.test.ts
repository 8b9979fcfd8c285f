import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { tenantSchema } from "./scope-sql.ts";
import { tenantKeyOf } from "./tenant-schema.ts";

describe("tenantKeyOf", () => {
  it("is the other way round of tenantSchema, for any pattern and key", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string({ minLength: 1 }), fc.boolean(), (before, after, key, twice) => {
        fc.pre(!`${before}${after}`.includes("{key}") && !/[{}]/.test(before + after));
        const tenancy = { mode: "schema", pattern: `${before}{key}${after}${twice ? "{key}" : ""}` } as const;
        const schema = tenantSchema(tenancy, key) ?? "";
        const found = tenantKeyOf(tenancy, schema);
        expect(found).not.toBeNull();
        expect(tenantSchema(tenancy, found ?? "")).toBe(schema);
        if (!twice) expect(found).toBe(key);
      }),
    );
  });

  it("matches the whole name, with the pattern's signs taken literally", () => {
    const tenancy = { mode: "schema", pattern: "t.{key}" } as const;
    expect([
      tenantKeyOf(tenancy, "t.a"),
      tenantKeyOf(tenancy, "txa"),
      tenantKeyOf(tenancy, "xt.a"),
      tenantKeyOf(tenancy, "t."),
    ]).toEqual(["a", null, null, null]);
  });
});
