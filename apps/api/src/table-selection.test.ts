import fc from "fast-check";
import { expect, test } from "vitest";
import { tablesOfTenant } from "./known-tables.ts";
import { FieldErrors } from "./problem.ts";
import { type KnownTable, selectTables } from "./table-selection.ts";

const table = (schema: string, name: string, obstacle: string | null = null): KnownTable => ({
  schema,
  name,
  obstacle,
});

test("what is chosen are the catalogue's own names, whatever was asked for", () => {
  const name = fc.oneof(fc.constantFrom("orders", "items", "a.b", 'x"y', "log"), fc.string({ minLength: 1 }));
  const known = fc.uniqueArray(
    fc.record({
      schema: fc.constantFrom("public", "a"),
      name,
      obstacle: fc.constantFrom(null, null, "it is not protected"),
    }),
    { selector: ({ schema, name: own }) => `${schema}.${own}`, maxLength: 8 },
  );
  fc.assert(
    fc.property(known, fc.array(name, { minLength: 1, maxLength: 6 }), (tables, asked) => {
      const choosable = new Set(
        tables.filter(({ obstacle }) => obstacle === null).map(({ schema, name: own }) => `${schema}.${own}`),
      );
      try {
        const chosen = selectTables(asked, tables);
        expect(chosen).toHaveLength(asked.length);
        expect(new Set(chosen).size).toBe(chosen.length);
        for (const label of chosen) expect(choosable).toContain(label);
      } catch (error) {
        if (!(error instanceof FieldErrors)) throw error;
        expect(["invalid_request", "unknown_table"]).toContain(error.code);
        for (const { path } of error.errors) expect(path).toMatch(/^tables\[\d\]$/);
      }
    }),
  );
});

test("a name with a dot may be a schema's table, or a table of that very name, but not both", () => {
  expect(selectTables(["a.b"], [table("a", "b")])).toEqual(["a.b"]);
  expect(selectTables(["a.b"], [table("public", "a.b")])).toEqual(["public.a.b"]);
  expect(() => selectTables(["a.b"], [table("a", "b"), table("public", "a.b")])).toThrow("several schemas");
  expect(selectTables(["public.a.b", "b"], [table("a", "b"), table("public", "a.b")])).toEqual(["public.a.b", "a.b"]);
});

test("with a schema per tenant, the others' schemas are not known", () => {
  const row = (schemaName: string) => ({
    schemaName,
    tableName: "orders",
    scope: { kind: "schema" },
    unprotectedReason: null,
    details: null,
    discoveredAt: new Date(0),
  });
  const tenancy = { mode: "schema", pattern: "t_{key}" } as const;
  expect(tablesOfTenant([row("t_acme"), row("t_$&"), row("public")], tenancy, "$&")).toEqual([table("t_$&", "orders")]);
});
