import type { Route } from "./capture-plan.ts";
import type { ChangeSorter } from "./change-sorter.ts";
import type { ParentKey } from "./parent-tenants.ts";
import { readMessage } from "./pgoutput.ts";
import type { TableBook } from "./table-book.ts";

/** Parents looked up together, ahead of the change that needs the first. */
const MOST_AHEAD = 20_000;

/** The parents that the messages from one on need and nobody knows yet, up to the next new definition. */
export function parentsWanted(
  messages: readonly Buffer[],
  from: number,
  book: TableBook,
  sorter: ChangeSorter,
): Map<Route, ParentKey[]> {
  const wanted = new Map<Route, Map<string, ParentKey>>();
  let count = 0;
  for (let index = from; index < messages.length && count < MOST_AHEAD; index += 1) {
    const bytes = messages[index];
    if (bytes === undefined) break;
    const message = readMessage(bytes);
    if (message.kind === "relation" && book.isNews(message)) break;
    if (message.kind !== "insert" && message.kind !== "update" && message.kind !== "delete") continue;
    for (const { route, key } of sorter.parentsOf(message)) {
      const keys = wanted.get(route) ?? new Map<string, ParentKey>();
      wanted.set(route, keys.set(key.join("\0"), key));
      count += 1;
    }
  }
  return new Map([...wanted].map(([route, keys]) => [route, [...keys.values()]]));
}
