import { compare } from "./catalog-build.ts";
import { sameTable, tableKey } from "./catalog-lookup.ts";
import type { Catalog, ForeignKey } from "./catalog-types.ts";
import type { Finding, UnprotectedReason } from "./finding.ts";
import { type ForeignKeyStep, type ScopeRule, type TableScope, tableLabel } from "./tenancy.ts";

/** What is decided about one table, its name left to the map it is in. */
export type Settled =
  | { readonly scope: TableScope; readonly warnings?: readonly Omit<Finding, "table">[] }
  | {
      readonly scope: null;
      readonly reason: UnprotectedReason;
      readonly warnings?: readonly Omit<Finding, "table">[];
      /** The foreign keys that a rule says to follow; `reason` holds where they do not end at a tenant. */
      readonly ruledPath?: readonly ForeignKey[];
      readonly rule?: ScopeRule;
    };

/** How good a path is: first the foreign keys whose rows may have no parent, then the length. */
interface Cost {
  readonly weak: number;
  readonly length: number;
}

/**
 * Adds to `settled` every table from which foreign keys lead to a tenant: the path with the fewest nullable keys, then the shortest.
 * Dijkstra's algorithm backwards from the tables that have a tenant, so self-references and cycles end by themselves, and each
 * table's path goes on as its parent's does. Two equally good first keys are ambiguous; a table behind an unsettled one waits for it.
 * Pure, and independent of the order of the catalogue's foreign keys.
 */
export function followTenants(catalog: Catalog, settled: ReadonlyMap<string, Settled>): Map<string, Settled> {
  const result = new Map<string, Settled>();
  const costs = new Map<string, Cost>();
  for (const [table, found] of settled) {
    const ruled = "ruledPath" in found && found.ruledPath !== undefined ? applyRule(found.ruledPath, settled) : null;
    result.set(table, ruled ?? found);
    const steps = ruled?.scope?.kind === "via" ? ruled.scope.path.length : 0;
    if (isShared(result.get(table))) continue;
    costs.set(table, {
      weak: (found.scope === null ? (found.ruledPath ?? []) : []).filter(isWeak).length,
      length: steps,
    });
  }
  const incoming = Map.groupBy(usableKeys(catalog), (key) => tableKey(key.to));
  const candidates = new Map<string, ForeignKey[]>();
  const open = new Map<string, Cost>(costs);
  for (let batch = cheapest(open); batch.length > 0; batch = cheapest(open)) {
    for (const { table, cost: own } of batch) {
      open.delete(table);
      const firstKeys = candidates.get(table);
      if (firstKeys !== undefined) result.set(table, settle(firstKeys, result));
      for (const key of incoming.get(table) ?? []) {
        const from = tableKey(key.from);
        if (settled.has(from)) continue;
        const cost = { weak: own.weak + (isWeak(key) ? 1 : 0), length: own.length + 1 };
        const known = costs.get(from);
        const order = known === undefined ? -1 : compareCosts(cost, known);
        if (order < 0) {
          costs.set(from, cost);
          open.set(from, cost);
          candidates.set(from, [key]);
        } else if (order === 0) {
          candidates.get(from)?.push(key);
        }
      }
    }
  }
  return result;
}

/** A ruled path as a scope, where it ends at a table that has a tenant; null where it does not. */
function applyRule(path: readonly ForeignKey[], settled: ReadonlyMap<string, Settled>): Settled | null {
  const last = path.at(-1);
  const end = last === undefined ? undefined : settled.get(tableKey(last.to))?.scope;
  if (end?.kind !== "root" && end?.kind !== "direct") return null;
  return { scope: { kind: "via", path: path.map(toStep), column: end.column }, warnings: pathWarnings(path) };
}

function settle(candidates: readonly ForeignKey[], result: ReadonlyMap<string, Settled>): Settled {
  const keys = distinct(candidates);
  const [only, another] = keys;
  if (only === undefined) throw new Error("A table was reached by no foreign key.");
  if (another !== undefined) return ambiguous(keys, result);
  const parent = result.get(tableKey(only.to));
  const rest = parent === undefined ? null : pathOf(parent);
  if (rest === null) return waitsFor(only);
  const inherited = (parent?.warnings ?? []).filter((warning) => PATH_WARNINGS.has(warning.code));
  return {
    scope: { kind: "via", path: [toStep(only), ...rest.path], column: rest.column },
    warnings: [...pathWarnings([only]), ...inherited],
  };
}

/** How a child of this table goes on; null when the table has no tenant itself. */
function pathOf(parent: Settled): { readonly path: readonly ForeignKeyStep[]; readonly column: string } | null {
  if (parent.scope?.kind === "via") return parent.scope;
  if (parent.scope?.kind === "root" || parent.scope?.kind === "direct")
    return { path: [], column: parent.scope.column };
  return null;
}

function ambiguous(keys: readonly ForeignKey[], result: ReadonlyMap<string, Settled>): Settled {
  const choices = keys.flatMap((key): ScopeRule[] => {
    const parent = result.get(tableKey(key.to));
    const rest = parent === undefined ? null : pathOf(parent);
    if (rest === null) return [];
    const constraints = [key.constraint, ...rest.path.map((step) => step.constraint)];
    return [{ table: key.from, scope: { kind: "via", constraints } }];
  });
  const names = keys.map((key) => `${key.constraint} (to ${tableLabel(key.to)})`).join(", ");
  return {
    scope: null,
    reason: {
      code: "ambiguous_path",
      message: `several foreign keys lead to a tenant equally well: ${names}`,
      hint: "Add a rule that names the foreign keys to follow.",
      choices,
    },
  };
}

function waitsFor(key: ForeignKey): Settled {
  const parent = tableLabel(key.to);
  return {
    scope: null,
    reason: {
      code: "parent_unprotected",
      message: `its foreign key ${key.constraint} leads to ${parent}, which is itself unprotected`,
      hint: `Settle ${parent} first; or add a rule for this table.`,
      choices: [],
    },
  };
}

const PATH_WARNINGS: ReadonlySet<string> = new Set(["path_nullable", "path_not_enforced"]);

function pathWarnings(path: readonly ForeignKey[]): Omit<Finding, "table">[] {
  return path.flatMap(({ constraint, from, notNull, enforced }): Omit<Finding, "table">[] => {
    const key = `${constraint} of ${tableLabel(from)}`;
    if (!enforced) {
      return [
        {
          severity: "warning",
          code: "path_not_enforced",
          message: `The table is tied to its tenant by the foreign key ${key}, which the server does not vouch for; rows without a parent belong to nobody.`,
          hint: `Run ALTER TABLE … VALIDATE CONSTRAINT for ${key}.`,
        },
      ];
    }
    if (notNull) return [];
    return [
      {
        severity: "warning",
        code: "path_nullable",
        message: `The table is tied to its tenant by the foreign key ${key}, which may be NULL; such rows belong to nobody and are not backed up.`,
        hint: `Make the columns of ${key} NOT NULL, or give the table a tenant column.`,
      },
    ];
  });
}

/** Foreign keys that can carry a tenant: between whole tables, and not a table's to itself. */
function usableKeys(catalog: Catalog): ForeignKey[] {
  return catalog.foreignKeys
    .filter((key) => !key.partial && !sameTable(key.from, key.to))
    .toSorted((a, b) => compare(tableKey(a.from), tableKey(b.from)) || compare(a.constraint, b.constraint));
}

/** Two constraints on the same columns say the same thing; the first by name stands for both. */
function distinct(keys: readonly ForeignKey[]): ForeignKey[] {
  const sorted = keys.toSorted((a, b) => compare(a.constraint, b.constraint));
  return [
    ...new Map(sorted.toReversed().map((key) => [JSON.stringify([key.to, pairs(key)]), key])).values(),
  ].toReversed();
}

function pairs(key: ForeignKey): string[] {
  return key.columns.map((column, index) => JSON.stringify([column, key.referenced[index]])).toSorted(compare);
}

/** All tables of the least cost at once: none of them can be on another's path, because each foreign key adds to the length. */
function cheapest(open: ReadonlyMap<string, Cost>): { table: string; cost: Cost }[] {
  const least = [...open.values()].reduce<Cost | null>(
    (best, cost) => (best === null || compareCosts(cost, best) < 0 ? cost : best),
    null,
  );
  if (least === null) return [];
  return [...open].filter(([, cost]) => compareCosts(cost, least) === 0).map(([table, cost]) => ({ table, cost }));
}

function compareCosts(a: Cost, b: Cost): number {
  return a.weak - b.weak || a.length - b.length;
}

function isWeak(key: ForeignKey): boolean {
  return !key.notNull || !key.enforced;
}

function isShared(found: Settled | undefined): boolean {
  return found?.scope?.kind === "shared" || found?.scope?.kind === "schema";
}

function toStep({ constraint, to, columns, referenced }: ForeignKey): ForeignKeyStep {
  return { constraint, to, columns: [...columns], referenced: [...referenced] };
}
