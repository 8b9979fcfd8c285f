import { compareTables } from "./catalog-build.ts";
import { findTable } from "./catalog-lookup.ts";
import type { Catalog, CatalogTable } from "./catalog-types.ts";
import type { DiscoveredTable } from "./discovery.ts";
import type { Finding } from "./finding.ts";
import { quoteName, quoteTable } from "./identifiers.ts";
import { unusedRules } from "./scope-rules.ts";
import type { ScopeRule } from "./tenancy.ts";

type Check = (table: CatalogTable, catalog: Catalog) => Omit<Finding, "table"> | null;

const SEVERITY_ORDER = { error: 0, warning: 1, info: 2 } as const;

/** What would make a backup or a restore of these tables fail or surprise, worst first. Pure. */
export function preflight(
  catalog: Catalog,
  discovered: readonly DiscoveredTable[],
  rules: readonly ScopeRule[] = [],
): Finding[] {
  const findings = [
    ...noTenants(discovered),
    ...discovered.flatMap((found) => [...unprotected(found), ...found.warnings, ...checked(catalog, found)]),
    ...unusedRules(catalog, rules),
  ];
  return findings.toSorted(
    (a, b) =>
      SEVERITY_ORDER[a.severity] - SEVERITY_ORDER[b.severity] ||
      (a.table === null || b.table === null
        ? Number(b.table === null) - Number(a.table === null)
        : compareTables(a.table, b.table)),
  );
}

function noTenants(discovered: readonly DiscoveredTable[]): Finding[] {
  if (discovered.some((found) => found.scope === null || found.scope.kind !== "shared")) return [];
  return [
    {
      severity: "error",
      code: "no_tenant_tables",
      table: null,
      message: "No table of the source holds tenants' rows by the tenancy that was chosen.",
      hint: "Correct the source's tenancy: the name of the tenant column, or the pattern of the tenants' schemas.",
    },
  ];
}

function unprotected({ table, reason }: DiscoveredTable): Finding[] {
  if (reason === null) return [];
  return [
    {
      severity: "error",
      code: reason.code,
      table,
      message: `The table is unprotected: ${reason.message}.`,
      hint: reason.hint,
    },
  ];
}

function checked(catalog: Catalog, { table, scope }: DiscoveredTable): Finding[] {
  const source = findTable(catalog, table);
  if (source === undefined || scope?.kind === "shared") return [];
  return CHECKS.flatMap((check) => {
    const finding = check(source, catalog);
    return finding === null ? [] : [{ ...finding, table }];
  });
}

const CHECKS: readonly Check[] = [
  ({ table, rowSecurity }, { role }) => {
    if (!rowSecurity.active) return null;
    return {
      severity: "error",
      code: "source_rls_active",
      message: "Row-level security would hide rows from Rowback's role, so every read of the table is refused.",
      hint: `Run ALTER ROLE ${quoteName(role.name)} BYPASSRLS; or, where the role owns it, ALTER TABLE ${quoteTable(table)} NO FORCE ROW LEVEL SECURITY;`,
    };
  },
  ({ table, privileges }, { role }) => {
    if (privileges.usage) return null;
    return {
      severity: "error",
      code: "source_privilege_missing",
      message: `Rowback's role may not use the schema ${table.schema}.`,
      hint: `Run GRANT USAGE ON SCHEMA ${quoteName(table.schema)} TO ${quoteName(role.name)};`,
    };
  },
  ({ table, privileges }, { role }) => {
    if (privileges.select) return null;
    return {
      severity: "error",
      code: "source_privilege_missing",
      message: "Rowback's role may not read the table.",
      hint: `Run GRANT SELECT ON ${quoteTable(table)} TO ${quoteName(role.name)};`,
    };
  },
  ({ table, privileges }, { role }) => {
    const missing = (["insert", "update", "delete"] as const).filter((privilege) => !privileges[privilege]);
    if (missing.length === 0) return null;
    const names = missing.join(", ").toUpperCase();
    return {
      severity: "warning",
      code: "restore_privilege_missing",
      message: `Rowback's role may back the table up, but not restore into it: ${names} is missing.`,
      hint: `Run GRANT ${names} ON ${quoteTable(table)} TO ${quoteName(role.name)}; before a restore.`,
    };
  },
  ({ key }) => {
    if (key !== null) return null;
    return {
      severity: "warning",
      code: "no_key",
      message:
        "The table has no primary key; its rows are compared as wholes, and an altered row shows as one deleted and one added.",
      hint: "Add a primary key if you can.",
    };
  },
  ({ table, persistence }) => {
    if (persistence === "permanent") return null;
    return {
      severity: "warning",
      code: "unlogged",
      message: "The table is unlogged: the server empties it after a crash, and a change log can't follow it.",
      hint: `Run ALTER TABLE ${quoteTable(table)} SET LOGGED; if its rows matter.`,
    };
  },
  ({ foreignPartitions }) => {
    if (!foreignPartitions) return null;
    return {
      severity: "warning",
      code: "foreign_partition",
      message:
        "A partition is a foreign table: its rows are read from another server, at another moment than the snapshot.",
      hint: "Keep that partition's rows still during a backup, or detach it.",
    };
  },
  ({ hasRules }) => {
    if (!hasRules) return null;
    return {
      severity: "warning",
      code: "rewrite_rules",
      message:
        "The table has rewrite rules; a restore's INSERT, UPDATE or DELETE may become something else, and would then be rolled back.",
      hint: "Replace the rules by triggers.",
    };
  },
  ({ triggers }, { role }) => {
    const firing = triggers.filter((trigger) => trigger.enabled !== "disabled" && trigger.enabled !== "replica");
    if (firing.length === 0 || role.canSetReplicationRole) return null;
    return {
      severity: "warning",
      code: "triggers_not_suppressible",
      message: `A restore would fire ${firing.map((trigger) => trigger.name).join(", ")}: the role may not suppress triggers.`,
      hint: `Run GRANT SET ON PARAMETER session_replication_role TO ${quoteName(role.name)}; (PostgreSQL 15 and later).`,
    };
  },
  ({ hasInheritanceChildren }) => {
    if (!hasInheritanceChildren) return null;
    return {
      severity: "info",
      code: "inheritance",
      message: "Other tables inherit from this one; each is backed up as a table of its own.",
      hint: "Look at the inheriting tables in this list.",
    };
  },
];
