import { findTable, sameTable } from "./catalog-lookup.ts";
import type { Catalog, CatalogTable } from "./catalog-types.ts";
import type { Finding } from "./finding.ts";
import type { Settled } from "./fk-paths.ts";
import type { ScopeRule } from "./tenancy.ts";
import { keyFamily } from "./tenant-key.ts";

/** What an operator's rule makes of the table: settled, left to its foreign keys (`via`), or stale. Pure. */
export function scopeByRule(catalog: Catalog, table: CatalogTable, rule: ScopeRule): Settled {
  const { scope } = rule;
  if (scope.kind === "shared") return { scope: { kind: "shared" } };
  if (table.kind === "foreign") return stale(rule, "it is a foreign table, which can only be shared");
  if (scope.kind === "direct") return byColumn(table, rule, scope.column);
  return byConstraints(catalog, table, rule, scope.constraints);
}

/** Rules for tables that are not there; they do nothing, which their author should know. */
export function unusedRules(catalog: Catalog, rules: readonly ScopeRule[]): Finding[] {
  return rules
    .filter((rule) => findTable(catalog, rule.table) === undefined)
    .map((rule) => ({
      severity: "warning",
      code: "rule_unused",
      table: rule.table,
      message: "A rule names a table that the source does not have.",
      hint: "Remove the rule, or correct its table.",
    }));
}

function byColumn(table: CatalogTable, rule: ScopeRule, name: string): Settled {
  const column = table.columns.find((candidate) => candidate.name === name);
  if (column === undefined) return stale(rule, `its column ${name} does not exist`);
  if (keyFamily(column) === null || column.equality === null) {
    return stale(rule, `its column ${name} is of type ${column.type}, which can't name a tenant`);
  }
  const scope = { kind: "direct" as const, column: name };
  if (column.notNull) return { scope };
  return {
    scope,
    warnings: [
      {
        severity: "warning",
        code: "tenant_column_nullable",
        message: `Rows whose ${name} is NULL belong to nobody and are not backed up.`,
        hint: `Make the column ${name} NOT NULL.`,
      },
    ],
  };
}

function byConstraints(
  catalog: Catalog,
  table: CatalogTable,
  rule: ScopeRule,
  constraints: readonly string[],
): Settled {
  const ruledPath = [];
  let near = table.table;
  for (const name of constraints) {
    const key = catalog.foreignKeys.find((one) => one.constraint === name && sameTable(one.from, near) && !one.partial);
    if (key === undefined) return stale(rule, `the table ${near.schema}.${near.name} has no foreign key ${name}`);
    ruledPath.push(key);
    near = key.to;
  }
  return {
    scope: null,
    ruledPath,
    rule,
    reason: staleReason(rule, "its path ends at a table without a tenant column"),
  };
}

function stale(rule: ScopeRule, why: string): Settled {
  return { scope: null, reason: staleReason(rule, why) };
}

function staleReason(rule: ScopeRule, why: string): Extract<Settled, { scope: null }>["reason"] {
  return {
    code: "rule_stale",
    message: `its rule (${rule.scope.kind}) no longer applies: ${why}`,
    hint: "Correct or remove the rule.",
    choices: [],
  };
}
