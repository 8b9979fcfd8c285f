/** That rows of `child` point at rows of `parent`; both are labels. */
export interface Dependency {
  readonly child: string;
  readonly parent: string;
}

/**
 * Parents before children. Tables of a cycle stand together, in the order they were given (and self-references say nothing);
 * otherwise the given order is kept wherever it may be, so equal input gives equal output. Pure.
 */
export function parentsFirst(tables: readonly string[], dependencies: readonly Dependency[]): string[] {
  const parents = new Map<string, Set<string>>(tables.map((table) => [table, new Set()]));
  for (const { child, parent } of dependencies) {
    if (child !== parent && parents.has(parent)) parents.get(child)?.add(parent);
  }
  return components(tables, parents).flat();
}

/**
 * Strongly connected components, each after those it points at: R. Tarjan, "Depth-first search and linear graph algorithms"
 * (1972), without recursion, because a chain of foreign keys may be longer than the stack is deep.
 */
function components(tables: readonly string[], parents: ReadonlyMap<string, ReadonlySet<string>>): string[][] {
  const position = new Map(tables.map((table, at) => [table, at]));
  const found = new Map<string, number>();
  const lowest = new Map<string, number>();
  const open: string[] = [];
  const isOpen = new Set<string>();
  const result: string[][] = [];

  for (const start of tables) {
    if (found.has(start)) continue;
    const path = [visit(start)];
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const next = top.ahead.next();
      if (next.done) {
        path.pop();
        close(top.table);
        const caller = path.at(-1)?.table;
        if (caller !== undefined) lower(caller, lowest.get(top.table));
      } else if (!found.has(next.value)) {
        path.push(visit(next.value));
      } else if (isOpen.has(next.value)) {
        lower(top.table, found.get(next.value));
      }
    }
  }
  return result;

  function visit(table: string): { table: string; ahead: Iterator<string> } {
    lowest.set(table, found.size);
    found.set(table, found.size);
    open.push(table);
    isOpen.add(table);
    const ahead = [...(parents.get(table) ?? [])].sort((a, b) => (position.get(a) ?? 0) - (position.get(b) ?? 0));
    return { table, ahead: ahead.values() };
  }

  function lower(table: string, to: number | undefined): void {
    lowest.set(table, Math.min(lowest.get(table) ?? 0, to ?? 0));
  }

  function close(table: string): void {
    if (lowest.get(table) !== found.get(table)) return;
    const component = open.splice(open.indexOf(table));
    for (const member of component) isOpen.delete(member);
    result.push(component.sort((a, b) => (position.get(a) ?? 0) - (position.get(b) ?? 0)));
  }
}
