/** That rows of `child` point at rows of `parent`; both are labels. */
export interface Dependency {
  readonly child: string;
  readonly parent: string;
}

/**
 * Parents before children; within a cycle the given order decides, and equal input gives equal output. Pure.
 * Depth first, on a stack of its own: a chain of foreign keys may be longer than the call stack is deep.
 */
export function parentsFirst(tables: readonly string[], dependencies: readonly Dependency[]): string[] {
  const parents = new Map<string, string[]>(tables.map((table) => [table, []]));
  for (const { child, parent } of dependencies) if (parents.has(parent)) parents.get(child)?.push(parent);
  const entered = new Set<string>();
  const ordered: string[] = [];
  for (const start of tables) {
    if (entered.has(start)) continue;
    entered.add(start);
    const path = [{ table: start, ahead: parents.get(start)?.values() }];
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const next = top.ahead?.next();
      if (next === undefined || next.done === true) {
        ordered.push(top.table);
        path.pop();
      } else if (!entered.has(next.value)) {
        entered.add(next.value);
        path.push({ table: next.value, ahead: parents.get(next.value)?.values() });
      }
    }
  }
  return ordered;
}
