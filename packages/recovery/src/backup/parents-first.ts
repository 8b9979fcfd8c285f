import type { CatalogTable, ForeignKey } from "../postgres/catalog-types.ts";
import { tableLabel } from "../postgres/tenancy.ts";

/**
 * Tables in an order in which a foreign key's target comes before the table it starts from; within a cycle the given order
 * decides. Pure, and the same for the same input.
 */
export function parentsFirst<T extends { readonly source: CatalogTable }>(
  tables: readonly T[],
  foreignKeys: readonly ForeignKey[],
): T[] {
  const byLabel = new Map(tables.map((table) => [tableLabel(table.source.table), table]));
  const parents = new Map<string, string[]>();
  for (const key of foreignKeys) {
    const from = tableLabel(key.from);
    parents.set(from, [...(parents.get(from) ?? []), tableLabel(key.to)]);
  }
  const ordered = new Set<T>();
  const entered = new Set<string>();
  // Depth first, on a stack of its own: a chain of a thousand tables is no reason to run out of call stack.
  for (const start of byLabel.keys()) {
    const stack: { readonly label: string; readonly left: string[] }[] = [];
    const enter = (label: string): void => {
      if (entered.has(label) || !byLabel.has(label)) return;
      entered.add(label);
      stack.push({ label, left: [...(parents.get(label) ?? [])] });
    };
    enter(start);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const parent = top.left.shift();
      if (parent !== undefined) {
        enter(parent);
        continue;
      }
      const table = byLabel.get(top.label);
      if (table !== undefined) ordered.add(table);
      stack.pop();
    }
  }
  return [...ordered];
}
