import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Catalog, ForeignKey } from "./catalog-types.ts";
import { DiscoveredTable, planScopes } from "./discovery.ts";
import type { ScopeRule } from "./tenancy.ts";
import { catalog, column, foreignKey, table } from "./testing/catalog-fixture.ts";

const TENANCY = { mode: "column", column: "tenant_id" } as const;
const rule = (name: string, scope: ScopeRule["scope"]): ScopeRule => ({ table: { schema: "app", name }, scope });

function discover(source: Catalog, rules: readonly ScopeRule[] = []): Record<string, DiscoveredTable> {
  return Object.fromEntries(
    planScopes(source, TENANCY, rules).map((found) => [found.table.name, DiscoveredTable.parse(found)]),
  );
}

/** `kind:first constraint of the path`, or the reason's code. */
function gist(found: DiscoveredTable | undefined): string {
  if (found === undefined) return "none";
  if (found.scope === null) return found.reason.code;
  return found.scope.kind === "via" ? found.scope.path.map((step) => step.constraint).join(">") : found.scope.kind;
}

const BASE = [table("tenants"), table("orders", ["tenant_id"]), table("users", ["tenant_id"])];
const BASE_KEYS = [foreignKey("orders", "tenant_id", "tenants"), foreignKey("users", "tenant_id", "tenants")];

describe("planScopes by column", () => {
  it("finds the tenants table by what the tenant columns refer to, direct tables, and paths", () => {
    const found = discover(
      catalog(
        [...BASE, table("lines", ["order_id"]), table("notes", ["line_id"])],
        [...BASE_KEYS, foreignKey("lines", "order_id", "orders"), foreignKey("notes", "line_id", "lines")],
      ),
    );
    expect(found["tenants"]?.scope).toEqual({ kind: "root", column: "id" });
    expect(found["orders"]?.scope).toEqual({ kind: "direct", column: "tenant_id" });
    expect(gist(found["lines"])).toBe("lines_order_id_fkey");
    expect(found["notes"]?.scope).toMatchObject({
      kind: "via",
      column: "tenant_id",
      path: [{ columns: ["line_id"] }, { columns: ["order_id"], referenced: ["id"] }],
    });
  });

  it("prefers a longer path of NOT NULL keys to a shorter one with a nullable key, and warns of a nullable one", () => {
    const nullable = { notNull: false };
    const found = discover(
      catalog(
        [...BASE, table("lines", ["order_id"]), table("notes", ["line_id", "user_id"]), table("logs", ["user_id"])],
        [
          ...BASE_KEYS,
          foreignKey("lines", "order_id", "orders"),
          foreignKey("notes", "line_id", "lines"),
          foreignKey("notes", "user_id", "users", nullable),
          foreignKey("logs", "user_id", "users", nullable),
        ],
      ),
    );
    expect(gist(found["notes"])).toBe("notes_line_id_fkey>lines_order_id_fkey");
    expect(found["notes"]?.warnings).toEqual([]);
    expect(found["logs"]?.warnings).toMatchObject([
      { code: "path_nullable", message: expect.stringContaining("logs_user_id_fkey") },
    ]);
  });

  it("reports two equally good paths with rules that settle them; each settles it, and what hangs behind it waits", () => {
    const source = catalog(
      [...BASE, table("x", ["order_id", "user_id"]), table("y", ["x_id"])],
      [
        ...BASE_KEYS,
        foreignKey("x", "order_id", "orders"),
        foreignKey("x", "user_id", "users"),
        foreignKey("y", "x_id", "x"),
      ],
    );
    const { x, y } = discover(source);
    expect([gist(x), gist(y)]).toEqual(["ambiguous_path", "parent_unprotected"]);
    const choices = x?.reason?.choices ?? [];
    expect(choices).toHaveLength(2);
    for (const choice of choices) {
      const settled = discover(source, [choice]);
      const constraints = choice.scope.kind === "via" ? choice.scope.constraints : [];
      expect(gist(settled["x"])).toBe(constraints.join(">"));
      expect(gist(settled["y"])).toBe(`y_x_id_fkey>${constraints.join(">")}`);
    }
  });

  it("takes two constraints on the same columns for one", () => {
    const found = discover(
      catalog(
        [...BASE, table("x", ["order_id"])],
        [
          ...BASE_KEYS,
          foreignKey("x", "order_id", "orders", { constraint: "b" }),
          foreignKey("x", "order_id", "orders", { constraint: "a" }),
        ],
      ),
    );
    expect(gist(found["x"])).toBe("a");
  });

  it("is not stopped by self-references and cycles", () => {
    const found = discover(
      catalog(
        [
          ...BASE,
          table("a", ["b_id", "self_id", "order_id"]),
          table("b", ["a_id"]),
          table("c", ["d_id"]),
          table("d", ["c_id"]),
        ],
        [
          ...BASE_KEYS,
          foreignKey("a", "self_id", "a"),
          foreignKey("a", "b_id", "b"),
          foreignKey("b", "a_id", "a"),
          foreignKey("a", "order_id", "orders"),
          foreignKey("c", "d_id", "d"),
          foreignKey("d", "c_id", "c"),
        ],
      ),
    );
    expect([gist(found["a"]), gist(found["b"])]).toEqual(["a_order_id_fkey", "b_a_id_fkey>a_order_id_fkey"]);
    expect([gist(found["c"]), gist(found["d"])]).toEqual(["shared", "shared"]);
  });

  it("never goes along a key that belongs to, or points at, one partition only", () => {
    const found = discover(
      catalog(
        [...BASE, table("x", ["order_id"])],
        [...BASE_KEYS, foreignKey("x", "order_id", "orders", { partial: true })],
      ),
    );
    expect(gist(found["x"])).toBe("shared");
  });

  it("refuses a tenant column that is half there: nullable, of another type, or on a foreign table", () => {
    const nullable = column("tenant_id", { notNull: false });
    const source = catalog(
      [
        ...BASE,
        table("maybe", [nullable]),
        table("behind", ["maybe_id"]),
        table("text", [column("tenant_id", { type: "text" })]),
        table("json", [column("tenant_id", { type: "json", equality: null })]),
        table("far", ["tenant_id"], { kind: "foreign" }),
      ],
      [...BASE_KEYS, foreignKey("behind", "maybe_id", "maybe")],
    );
    const found = discover(source);
    expect(["maybe", "behind", "text", "json", "far"].map((name) => gist(found[name]))).toEqual([
      "tenant_column_nullable",
      "parent_unprotected",
      "tenant_column_incompatible",
      "tenant_column_incompatible",
      "foreign_table",
    ]);
    const settled = discover(source, [rule("maybe", { kind: "direct", column: "tenant_id" })]);
    expect([gist(settled["maybe"]), gist(settled["behind"])]).toEqual(["direct", "behind_maybe_id_fkey"]);
    expect(settled["maybe"]?.warnings).toMatchObject([{ code: "tenant_column_nullable" }]);
  });

  it("takes a table without a tie for shared and says so, unless it looks like a tenant's (decision 0020)", () => {
    const found = discover(
      catalog(
        [
          ...BASE,
          table("countries"),
          table("schema_migrations"),
          table("audit", [column("tenantId", { notNull: false })]),
          table("addresses"),
          table("people", ["tenant_id", "country_id", "address_id"], {
            uniqueConstraints: [
              {
                name: "u",
                columns: ["address_id"],
                primary: false,
                deferrable: false,
                notNull: true,
                nullsNotDistinct: false,
              },
            ],
          }),
        ],
        [
          ...BASE_KEYS,
          foreignKey("people", "country_id", "countries"),
          foreignKey("people", "address_id", "addresses"),
        ],
      ),
    );
    for (const name of ["countries", "schema_migrations"]) {
      expect(found[name]).toMatchObject({
        scope: { kind: "shared" },
        warnings: [{ code: "assumed_shared", table: { name } }],
      });
    }
    expect([gist(found["audit"]), gist(found["addresses"])]).toEqual(["tenant_like_column", "owned_by_reference"]);
    expect(found["audit"]?.reason?.choices).toContainEqual(rule("audit", { kind: "direct", column: "tenantId" }));
  });

  it("follows rules, and refuses a table whose rule no longer applies", () => {
    const source = catalog(
      [...BASE, table("lines", ["order_id", "user_id", "owner"]), table("countries")],
      [...BASE_KEYS, foreignKey("lines", "order_id", "orders"), foreignKey("lines", "user_id", "users")],
    );
    const under = (scope: ScopeRule["scope"]): string => gist(discover(source, [rule("lines", scope)])["lines"]);
    expect(under({ kind: "shared" })).toBe("shared");
    expect(under({ kind: "direct", column: "owner" })).toBe("direct");
    expect(under({ kind: "via", constraints: ["lines_user_id_fkey"] })).toBe("lines_user_id_fkey");
    expect(under({ kind: "via", constraints: ["lines_order_id_fkey", "orders_tenant_id_fkey"] })).toBe(
      "lines_order_id_fkey>orders_tenant_id_fkey",
    );
    expect(under({ kind: "direct", column: "gone" })).toBe("rule_stale");
    expect(under({ kind: "via", constraints: ["gone"] })).toBe("rule_stale");
    expect(under({ kind: "via", constraints: ["lines_user_id_fkey", "gone"] })).toBe("rule_stale");
    const shared = discover(source, [rule("countries", { kind: "shared" })])["countries"];
    expect(shared).toMatchObject({ scope: { kind: "shared" }, warnings: [] });
  });

  it("takes the tenants table that the tenancy names, and warns when it is gone", () => {
    const tenancy = { ...TENANCY, root: { schema: "app", name: "accounts" } };
    const accounts = planScopes(catalog([...BASE, table("accounts")], BASE_KEYS), tenancy, []).find(
      (one) => one.table.name === "accounts",
    );
    expect(accounts?.scope).toEqual({ kind: "root", column: "id" });
    const gone = planScopes(catalog(BASE, BASE_KEYS), tenancy, []).find((one) => one.table.name === "tenants");
    expect(gone).toMatchObject({ scope: { kind: "root" }, warnings: [{ code: "root_missing" }] });
  });
});

describe("planScopes by schema", () => {
  it("gives tenants' schemas to their tenants, and what lies elsewhere to nobody, with a warning", () => {
    const at = (schema: string, kind: "table" | "foreign" = "table") =>
      table("t", [], { table: { schema, name: "t" }, kind });
    const source = catalog([at("tenant_a"), at("tenant_b", "foreign"), at("tenantx"), at("public")]);
    const found = planScopes(source, { mode: "schema", pattern: "tenant_{key}" }, []);
    expect(found.map((one) => [one.table.schema, one.scope?.kind ?? one.reason?.code, one.warnings[0]?.code])).toEqual([
      ["public", "shared", "assumed_shared"],
      ["tenant_a", "schema", undefined],
      ["tenant_b", "foreign_table", undefined],
      ["tenantx", "shared", "assumed_shared"],
    ]);
  });
});

/** Random graphs: up to 8 tables, some with the tenant column, any foreign keys between them. */
const graph = fc.integer({ min: 1, max: 8 }).chain((size) =>
  fc.record({
    direct: fc.array(fc.boolean(), { minLength: size, maxLength: size }),
    keys: fc.uniqueArray(fc.record({ from: fc.nat(size - 1), to: fc.nat(size - 1), notNull: fc.boolean() }), {
      maxLength: 14,
      selector: ({ from, to }) => `${from}-${to}`,
    }),
    order: fc.infiniteStream(fc.nat()),
  }),
);

describe("planScopes on any graph", () => {
  it("gives valid, shortest paths, the same whatever the order of the foreign keys", () => {
    fc.assert(
      fc.property(graph, ({ direct, keys, order }) => {
        const tables = direct.map((has, index) => table(`t${index}`, has ? ["tenant_id"] : []));
        const foreignKeys = keys.map(({ from, to, notNull }) =>
          foreignKey(`t${from}`, `c${to}`, `t${to}`, { notNull }),
        );
        const shuffled = foreignKeys
          .map((key) => ({ key, at: order.next().value }))
          .toSorted((a, b) => a.at - b.at)
          .map(({ key }) => key);
        const found = planScopes(catalog(tables, foreignKeys), TENANCY, []);
        expect(planScopes(catalog(tables, shuffled), TENANCY, [])).toEqual(found);
        const best = leastCosts(direct, foreignKeys);
        for (const [index, one] of found.entries()) {
          const { scope } = one;
          const least = best.get(`t${index}`);
          if (direct[index]) expect(scope?.kind).toBe("direct");
          else if (least === undefined)
            expect(scope?.kind === "shared" || one.reason?.code === "owned_by_reference").toBe(true);
          else if (scope?.kind === "via") {
            let near = one.table.name;
            let weak = 0;
            for (const step of scope.path) {
              const key = foreignKeys.find((candidate) => candidate.constraint === step.constraint);
              expect(key?.from.name).toBe(near);
              expect(key?.to).toEqual(step.to);
              if (key?.notNull === false) weak += 1;
              near = step.to.name;
            }
            expect(direct[Number(near.slice(1))]).toBe(true);
            expect(weak * 1_000 + scope.path.length).toBe(least);
          } else expect(["ambiguous_path", "parent_unprotected"]).toContain(one.reason?.code);
        }
      }),
      { numRuns: 500 },
    );
  });
});

/** Bellman-Ford as the oracle: cost = 1,000 × nullable keys + length. */
function leastCosts(direct: readonly boolean[], keys: readonly ForeignKey[]): Map<string, number> {
  const costs = new Map<string, number>(direct.flatMap((has, index) => (has ? [[`t${index}`, 0] as const] : [])));
  for (const _round of direct) {
    for (const key of keys) {
      const onward = costs.get(key.to.name);
      if (onward === undefined || direct[Number(key.from.name.slice(1))] === true) continue;
      const cost = onward + 1 + (key.notNull ? 0 : 1_000);
      if (cost < (costs.get(key.from.name) ?? Number.POSITIVE_INFINITY)) costs.set(key.from.name, cost);
    }
  }
  return costs;
}
