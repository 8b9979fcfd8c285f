import { lstat, mkdir, open, realpath, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import { errnoOf } from "./filesystem-errors.ts";

/** Folders remembered as made, durable and real. Beyond this, the oldest is asked about again: two system calls, no harm. */
const MOST_REMEMBERED = 10_000;

/**
 * The folders under one root: made durably, checked once for symbolic links, then remembered, so that a put into a known folder asks the
 * filesystem nothing. A remembered folder that somebody removed shows as ENOENT; `forget` it and ensure it again.
 */
export class Folders {
  readonly #root: string;
  readonly #known = new Set<string>();
  /** Folders that a put is about to give a file to, each as often as there are such puts. */
  readonly #awaited = new Map<string, number>();
  readonly #making = new Map<string, Promise<void>>();
  readonly #syncs = new Map<string, { running: Promise<void>; next: Promise<void> | undefined }>();

  /** @param root an absolute path with every symbolic link resolved; it exists. */
  constructor(root: string) {
    this.#root = root;
  }

  /** Makes `folder` and its parents, each entry synced to disk. Rejects with ELOOP if one of them is a symbolic link. */
  async ensure(folder: string): Promise<void> {
    if (folder === this.#root || this.#known.has(folder)) return;
    const making = this.#making.get(folder) ?? this.#make(folder).finally(() => this.#making.delete(folder));
    this.#making.set(folder, making);
    await making;
  }

  /** Runs `fn` with the folder ensured, and not removed by `settleDeletes` here; another process may still remove it. */
  async withFolder<T>(folder: string, fn: () => Promise<T>): Promise<T> {
    this.#awaited.set(folder, (this.#awaited.get(folder) ?? 0) + 1);
    try {
      await this.ensure(folder);
      return await fn();
    } finally {
      const others = (this.#awaited.get(folder) ?? 1) - 1;
      if (others === 0) this.#awaited.delete(folder);
      else this.#awaited.set(folder, others);
    }
  }

  /** Rejects with ELOOP if a symbolic link is on the way to `folder`, with ENOENT if there is no such folder. */
  async check(folder: string): Promise<void> {
    if (folder === this.#root || this.#known.has(folder)) return;
    if ((await realpath(folder)) !== folder) throw systemError("ELOOP");
  }

  forget(folder: string): void {
    for (let each = folder; each.length > this.#root.length; each = dirname(each)) this.#known.delete(each);
  }

  /** Makes the deletes in `folder` survive a power cut, then removes it and its parents, as long as they are empty. */
  async settleDeletes(folder: string): Promise<void> {
    try {
      await this.sync(folder);
    } catch (error) {
      if (errnoOf(error) !== "ENOENT" && errnoOf(error) !== "ENOTDIR") throw error;
    }
    for (let each = folder; each.length > this.#root.length; each = dirname(each)) {
      if (this.#isAwaited(each)) return;
      this.#known.delete(each);
      const removed = await rmdir(each).then(
        () => true,
        (error: unknown) => errnoOf(error) === "ENOENT",
      );
      // In use, a mount, or not ours to remove: an empty folder harms nobody.
      if (!removed) return;
    }
  }

  /**
   * Makes renames and new entries in `folder` survive a power cut. Calls that arrive while a sync runs share the next one: the running one may
   * have begun before their rename.
   */
  sync(folder: string): Promise<void> {
    const busy = this.#syncs.get(folder);
    if (busy === undefined) {
      const running = this.#syncNow(folder);
      this.#syncs.set(folder, { running, next: undefined });
      return running;
    }
    busy.next ??= busy.running.then(
      () => this.#syncNext(folder),
      () => this.#syncNext(folder),
    );
    return busy.next;
  }

  #isAwaited(folder: string): boolean {
    for (const awaited of this.#awaited.keys()) if (awaited === folder || awaited.startsWith(`${folder}/`)) return true;
    return false;
  }

  #syncNext(folder: string): Promise<void> {
    const running = this.#syncNow(folder);
    this.#syncs.set(folder, { running, next: undefined });
    return running;
  }

  async #syncNow(folder: string): Promise<void> {
    try {
      const handle = await open(folder, "r");
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    } finally {
      if (this.#syncs.get(folder)?.next === undefined) this.#syncs.delete(folder);
    }
  }

  async #make(folder: string): Promise<void> {
    const parent = dirname(folder);
    await this.ensure(parent);
    try {
      await mkdir(folder, { mode: 0o700 });
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
      const found = await lstat(folder);
      if (found.isSymbolicLink()) throw systemError("ELOOP");
      if (!found.isDirectory()) throw systemError("ENOTDIR");
    }
    // Also when it existed: another process may have made it and not yet synced it.
    await this.sync(parent);
    const oldest = this.#known.size < MOST_REMEMBERED ? undefined : this.#known.values().next().value;
    if (oldest !== undefined) this.#known.delete(oldest);
    this.#known.add(folder);
  }
}

function systemError(code: "ELOOP" | "ENOTDIR"): Error {
  return Object.assign(new Error(`${code}: refused by the store`), { code });
}
