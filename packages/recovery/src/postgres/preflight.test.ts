import { describe, expect, it } from "vitest";
import type { CatalogTable } from "./catalog-types.ts";
import { planScopes } from "./discovery.ts";
import { Finding } from "./finding.ts";
import { preflight } from "./preflight.ts";
import { catalog, column, table } from "./testing/catalog-fixture.ts";

const TENANCY = { mode: "column", column: "tenant_id" } as const;

function findings(fields: Partial<CatalogTable>, canSetReplicationRole = false): Finding[] {
  const plain = catalog([table("Order", ["tenant_id"], fields)]);
  const source = { ...plain, role: { ...plain.role, canSetReplicationRole } };
  return preflight(source, planScopes(source, TENANCY, [])).map((finding) => Finding.parse(finding));
}

const TRIGGER = { name: "touch", timing: "before", events: ["update"], level: "row", enabled: "origin" } as const;
const RIGHTS = { usage: true, select: true, insert: true, update: true, delete: true };

describe("preflight", () => {
  it.each<[string, Partial<CatalogTable>, string, string]>([
    [
      "source_rls_active",
      { rowSecurity: { enabled: true, forced: false, active: true } },
      "error",
      'ALTER ROLE "rowback" BYPASSRLS;',
    ],
    [
      "source_privilege_missing",
      { privileges: { ...RIGHTS, select: false } },
      "error",
      'GRANT SELECT ON "app"."Order" TO "rowback";',
    ],
    [
      "source_privilege_missing",
      { privileges: { ...RIGHTS, usage: false } },
      "error",
      'GRANT USAGE ON SCHEMA "app" TO "rowback";',
    ],
    [
      "restore_privilege_missing",
      { privileges: { ...RIGHTS, update: false, delete: false } },
      "warning",
      'GRANT UPDATE, DELETE ON "app"."Order"',
    ],
    ["no_key", { key: null }, "warning", "primary key"],
    ["unlogged", { persistence: "unlogged" }, "warning", "SET LOGGED"],
    ["foreign_partition", { foreignPartitions: true }, "warning", "partition"],
    ["rewrite_rules", { hasRules: true }, "warning", "triggers"],
    [
      "triggers_not_suppressible",
      { triggers: [TRIGGER] },
      "warning",
      "GRANT SET ON PARAMETER session_replication_role",
    ],
    ["inheritance", { hasInheritanceChildren: true }, "info", "inheriting"],
    ["foreign_table", { kind: "foreign" }, "error", "shared"],
  ])("finds %s", (code, fields, severity, hint) => {
    const found = findings(fields).find((finding) => finding.code === code);
    expect(found).toMatchObject({
      severity,
      table: { schema: "app", name: "Order" },
      hint: expect.stringContaining(hint),
    });
  });

  it("finds nothing where nothing is wrong", () => {
    expect(findings({})).toEqual([]);
    expect(findings({ triggers: [{ ...TRIGGER, enabled: "disabled" }] })).toEqual([]);
    expect(findings({ triggers: [TRIGGER] }, true)).toEqual([]);
    expect(findings({ rowSecurity: { enabled: true, forced: false, active: false } })).toEqual([]);
  });

  it("puts the worst first, names rules that do nothing, and a tenancy that fits no table", () => {
    const source = catalog([
      table("a"),
      table("b", [column("tenant_id", { notNull: false })]),
      table("c", ["tenant_id"], { key: null }),
    ]);
    const rules = [{ table: { schema: "app", name: "gone" }, scope: { kind: "shared" as const } }];
    expect(
      preflight(source, planScopes(source, TENANCY, rules), rules).map(
        (one) => `${one.severity} ${one.code} ${one.table?.name}`,
      ),
    ).toEqual([
      "error tenant_column_nullable b",
      "warning assumed_shared a",
      "warning no_key c",
      "warning rule_unused gone",
    ]);
    const none = catalog([table("a")]);
    expect(preflight(none, planScopes(none, TENANCY, []))[0]).toMatchObject({ code: "no_tenant_tables", table: null });
  });
});
