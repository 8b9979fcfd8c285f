import { type TableName, tableLabel } from "../../postgres/tenancy.ts";
import { parseLsn } from "./change-span.ts";
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

  /** A part is begun where it begins: a batch of each that is begun is held, and a chain may be long. */
  async *lines(label: string): AsyncGenerator<LoggedTableLine[]> {
    const placed = this.#parts
      .flatMap((part) => {
        const extent = part.extent(label);
        return extent === null ? [] : [{ part, first: parseLsn(extent.first) }];
      })
      .toSorted((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
    yield* mergeBatches(
      placed.map(({ part }) => part.lines(label)),
      compareChanges,
      (at, { change }) => (placed[at]?.first ?? 0n) <= change.transaction.lsn,
    );
  }
}
