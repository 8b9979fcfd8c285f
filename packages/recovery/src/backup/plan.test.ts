import { describe, expect, test } from "vitest";
import type { CatalogTable } from "../postgres/catalog-types.ts";
import type { DiscoveredTable } from "../postgres/discovery.ts";
import { tableLabel } from "../postgres/tenancy.ts";
import { catalog as catalogOf, column, foreignKey, table as plainTable } from "../postgres/testing/catalog-fixture.ts";
import { dealBatches } from "./copy-batches.ts";
import { type BackupPlan, planBackup } from "./plan.ts";

const KEY = "00000000-0000-4000-8000-000000000007";
const tenancy = { mode: "column", column: "tenant_id" } as const;

/** With a tenant's column and a generated one. */
function catalogTable(name: string, fields: Partial<CatalogTable> = {}): CatalogTable {
  return plainTable(name, ["tenant_id", column("twice", { generated: "stored" })], { bytes: 8_192, ...fields });
}

function discovered(table: CatalogTable, kind: "root" | "direct" | "shared" | null = "direct"): DiscoveredTable {
  const common = { table: table.table, warnings: [] };
  if (kind === "shared") return { ...common, scope: { kind }, reason: null };
  if (kind !== null) return { ...common, scope: { kind, column: kind === "root" ? "id" : "tenant_id" }, reason: null };
  const reason = {
    code: "ambiguous_path" as const,
    message: "two paths lead to a tenant",
    hint: "Add a rule.",
    choices: [],
  };
  return { ...common, scope: null, reason };
}

const tenants = catalogTable("tenants", { estimatedRows: 400 });
const orders = catalogTable("orders", { bytes: 900_000_000 });
const lines = catalogTable("lines");
const countries = catalogTable("countries");
const catalog = catalogOf(
  [countries, lines, orders, tenants],
  [foreignKey("lines", "orders_id", "orders"), foreignKey("orders", "tenants_id", "tenants")],
);
const all = [discovered(countries, "shared"), discovered(lines), discovered(orders), discovered(tenants, "root")];

function plan(tables: readonly string[] | null, found: readonly DiscoveredTable[] = all): BackupPlan {
  return planBackup(catalog, found, { tenancy, tenantKey: KEY, tables });
}

function labels(tables: BackupPlan["tables"]): string[] {
  return tables.map(({ source }) => tableLabel(source.table));
}

describe("what a backup reads", () => {
  test("all tables but the shared ones, parents first, without generated columns", () => {
    const { tables, tenantTable, tenantQuery } = plan(null);
    expect(labels(tables)).toEqual(["app.tenants", "app.orders", "app.lines"]);
    expect(tables[1]?.columns.map(({ name }) => name)).toEqual(["id", "tenant_id"]);
    expect(tables[1]?.copy).toMatch(
      /^COPY \(SELECT t\."id", t\."tenant_id" FROM ONLY "app"\."orders" AS t WHERE .*7.*\) TO STDOUT$/,
    );
    expect([tenantTable, tenantQuery]).toEqual([tenants.table, null]);
  });

  test("named tables, by their whole or bare names and once each; the tenant is then asked for", () => {
    const { tables, tenantTable, tenantQuery } = plan(["lines", "app.orders", "orders"]);
    expect(labels(tables)).toEqual(["app.orders", "app.lines"]);
    expect(tenantTable).toBeNull();
    expect(tenantQuery).toMatch(/^SELECT t\."id" FROM ONLY "app"\."tenants"/);
  });

  test("cycles of foreign keys keep the given order", () => {
    const keys = [
      foreignKey("lines", "orders_id", "orders"),
      foreignKey("orders", "lines_id", "lines"),
      foreignKey("orders", "orders_id", "orders"),
    ];
    const cyclic = planBackup(catalogOf([lines, orders], keys), [discovered(lines), discovered(orders)], {
      tenancy,
      tenantKey: KEY,
      tables: null,
    });
    expect(labels(cyclic.tables).toSorted()).toEqual(["app.lines", "app.orders"]);
  });
});

describe("what a backup refuses", () => {
  test.for([
    [["nowhere"], "unknown_table"],
    [["countries"], "unknown_table"],
    [['orders"; DROP TABLE app.orders; --'], "unknown_table"],
  ] as const)("%j", ([tables, code]) => {
    expect(() => plan(tables)).toThrow(expect.objectContaining({ code }));
  });

  test("a table no rule covers, unless it was not asked for", () => {
    const partly = [discovered(lines, null), discovered(orders), discovered(tenants, "root")];
    expect(() => plan(null, partly)).toThrow(
      expect.objectContaining({ code: "table_unprotected", context: expect.objectContaining({ table: "app.lines" }) }),
    );
    expect(labels(plan(["orders"], partly).tables)).toEqual(["app.orders"]);
  });

  test.for([
    ["source_rls_active", { rowSecurity: { enabled: true, forced: false, active: true } }],
    [
      "source_privilege_missing",
      { privileges: { usage: true, select: false, insert: true, update: true, delete: true } },
    ],
    ["table_unprotected", { columns: [] }],
  ] satisfies [string, Partial<CatalogTable>][])("%s", ([code, overrides]) => {
    const table = catalogTable("orders", overrides);
    const request = { tenancy, tenantKey: KEY, tables: null };
    expect(() => planBackup(catalogOf([table]), [discovered(table)], request)).toThrow(
      expect.objectContaining({ code }),
    );
  });

  test("two tables of one bare name", () => {
    const other = catalogTable("orders", { table: { schema: "old", name: "orders" } });
    const request = { tenancy, tenantKey: KEY, tables: ["orders"] };
    const both = [discovered(orders), discovered(other)];
    expect(() => planBackup(catalogOf([orders, other]), both, request)).toThrow(
      expect.objectContaining({ code: "unknown_table" }),
    );
  });
});

test("schema per tenant: other tenants' schemas are left alone", () => {
  const mine = catalogTable("items", { table: { schema: "t_a", name: "items" } });
  const theirs = catalogTable("items", { table: { schema: "t_b", name: "items" } });
  const found = [mine, theirs].map((table) => ({
    table: table.table,
    scope: { kind: "schema" as const },
    reason: null,
    warnings: [],
  }));
  const request = (tenantKey: string) => ({
    tenancy: { mode: "schema", pattern: "t_{key}" } as const,
    tenantKey,
    tables: null,
  });
  expect(labels(planBackup(catalogOf([mine, theirs]), found, request("a")).tables)).toEqual(["t_a.items"]);
  expect(() => planBackup(catalogOf([mine, theirs]), found, request("c"))).toThrow(
    expect.objectContaining({ code: "tenant_not_in_source" }),
  );
});

test("batches: large tables alone and first, small ones together, by the average tenant's share", () => {
  const { tables, tenants: count } = plan(null);
  expect(count).toBe(400);
  expect(dealBatches(tables, count).map(labels)).toEqual([["app.orders"], ["app.tenants", "app.lines"]]);
  expect(dealBatches(tables, 100_000).map(labels)).toEqual([["app.orders", "app.tenants", "app.lines"]]);
  expect(dealBatches([], 1)).toEqual([]);
});
