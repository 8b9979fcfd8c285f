import type { Stats } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import { compareKeys, RESERVED_SEGMENT } from "../object-key.ts";
import type { ObjectInfo } from "../object-store.ts";
import { errnoOf } from "./filesystem-errors.ts";

/** Entries of one folder that are held at once, some 100 bytes each. A folder with more is read again for every further so many. */
const ENTRIES_HELD = 20_000;
/** Files asked for their size side by side: as many as libuv has threads, twice. */
const STATS_AT_ONCE = 8;

export interface ListingRequest {
  readonly root: string;
  readonly prefix: string;
  /** Only keys behind this one. */
  readonly startAfter: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly entriesHeld?: number | undefined;
}

/** What the walk holds of an entry; a folder's name ends in `/`, which puts it where its keys belong in key order. */
type EntryName = string;

/** Every regular file under the root whose key begins with the prefix, in key order. Symbolic links are neither followed nor listed. */
export function listFolder(request: ListingRequest): AsyncGenerator<ObjectInfo> {
  const folder = request.prefix.slice(0, request.prefix.lastIndexOf("/") + 1);
  return walk(request, folder);
}

/** @param folder "" or a key's beginning up to and with a `/`. */
async function* walk(request: ListingRequest, folder: string): AsyncGenerator<ObjectInfo> {
  for await (const names of entriesInOrder(request, folder)) {
    for (let at = 0; at < names.length; at += STATS_AT_ONCE) {
      const batch = names.slice(at, at + STATS_AT_ONCE);
      const stats = await Promise.all(
        batch.map((name) => (name.endsWith("/") ? null : statFile(request.root, folder + name))),
      );
      for (const [index, name] of batch.entries()) {
        request.signal?.throwIfAborted();
        const stat = stats[index];
        if (name.endsWith("/")) yield* walk(request, folder + name);
        else if (stat) yield { key: folder + name, bytes: stat.size, modifiedAt: stat.mtime };
      }
    }
  }
}

/** The folder's entries that can matter, in key order, in lists of at most `entriesHeld`: each list is one pass over the folder. */
async function* entriesInOrder(request: ListingRequest, folder: string): AsyncGenerator<EntryName[]> {
  const most = request.entriesHeld ?? ENTRIES_HELD;
  let last: EntryName | undefined;
  while (true) {
    const smallest: EntryName[] = [];
    let cut = false;
    for await (const name of entryNames(request, folder)) {
      if (last !== undefined && compareKeys(name, last) <= 0) continue;
      smallest.push(name);
      if (smallest.length >= 2 * most) {
        smallest.sort(compareKeys).length = most;
        cut = true;
      }
    }
    smallest.sort(compareKeys);
    if (smallest.length > most) cut = true;
    smallest.length = Math.min(smallest.length, most);
    if (smallest.length > 0) yield smallest;
    if (!cut) return;
    last = smallest.at(-1);
  }
}

async function* entryNames(request: ListingRequest, folder: string): AsyncGenerator<EntryName> {
  request.signal?.throwIfAborted();
  const directory = await opendir(join(request.root, folder), { bufferSize: 256 }).catch((error: unknown) => {
    if (["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? "")) return null;
    throw error;
  });
  if (directory === null) return;
  for await (const entry of directory) {
    if (folder === "" && entry.name === RESERVED_SEGMENT) continue;
    if (!entry.isFile() && !entry.isDirectory()) continue;
    const name = entry.isDirectory() ? `${entry.name}/` : entry.name;
    if (matters(request, folder + name, entry.isDirectory())) yield name;
  }
}

/** Whether the key, or any key in the folder, begins with the prefix and lies behind `startAfter`. */
function matters({ prefix, startAfter }: ListingRequest, key: string, isFolder: boolean): boolean {
  const underPrefix = key.startsWith(prefix) || (isFolder && prefix.startsWith(key));
  if (!underPrefix || startAfter === undefined) return underPrefix;
  return compareKeys(key, startAfter) > 0 || (isFolder && startAfter.startsWith(key));
}

/** Null if it went in the meantime. */
async function statFile(root: string, key: string): Promise<Stats | null> {
  try {
    const stat = await lstat(join(root, key));
    return stat.isFile() ? stat : null;
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? "")) return null;
    throw error;
  }
}
