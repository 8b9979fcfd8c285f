import { type TableName, tableLabel } from "../../postgres/tenancy.ts";
import { compareChanges, mergeBatches } from "./merge-changes.ts";
import { type Extent, extentOf, type LoggedTableLine, type TableChanges } from "./moment-log.ts";

/**
 * Several parts of a tenant's changes as one, in commit order. Their spans are disjoint by transaction, not by position: a transaction can
 * stand in the WAL before another one and become visible after it, so that the later backup carries it.
 */
export function joinChanges(parts: readonly TableChanges[]): TableChanges {
  const [only, ...others] = parts;
  return only !== undefined && others.length === 0 ? only : new JoinedChanges(parts);
}

class JoinedChanges implements TableChanges {
  readonly #parts: readonly TableChanges[];

  constructor(parts: readonly TableChanges[]) {
    this.#parts = parts;
  }

  get tables(): readonly TableName[] {
    const tables = new Map<string, TableName>();
    for (const table of this.#parts.flatMap((part) => part.tables)) tables.set(tableLabel(table), table);
    return [...tables.values()];
  }

  rawBytes(label: string): number {
    return this.#parts.reduce((sum, part) => sum + part.rawBytes(label), 0);
  }

  extent(label: string): Extent | null {
    return extentOf(this.#parts.flatMap((part) => part.extent(label) ?? []));
  }

  async *lines(label: string): AsyncGenerator<LoggedTableLine[]> {
    for (const together of this.#overlapping(label)) {
      yield* mergeBatches(
        together.map((part) => part.lines(label)),
        compareChanges,
      );
    }
  }

  /** Only parts whose positions overlap are read side by side: a batch of each is held, and a chain may be long. */
  #overlapping(label: string): TableChanges[][] {
    const placed = this.#parts
      .flatMap((part) => {
        const extent = part.extent(label);
        return extent === null ? [] : [{ part, ...extent }];
      })
      .toSorted((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
    const groups: TableChanges[][] = [];
    let last = "";
    for (const { part, ...extent } of placed) {
      const group = groups.at(-1);
      if (group !== undefined && extent.first <= last) group.push(part);
      else groups.push([part]);
      if (extent.last > last) last = extent.last;
    }
    return groups;
  }
}
