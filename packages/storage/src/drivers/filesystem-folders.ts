import { lstat, mkdir, open, realpath, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import { errnoOf } from "./filesystem-errors.ts";

/** Folders remembered as made, durable and real. Beyond this, the oldest is asked about again: two system calls, no harm. */
const MOST_REMEMBERED = 10_000;

interface Making {
  /** It is there, and no symbolic link. */
  readonly made: Promise<void>;
  /** It and its parents survive a power cut. */
  readonly durable: Promise<void>;
}

const MADE: Making = { made: Promise.resolve(), durable: Promise.resolve() };

/**
 * The folders under one root: made durably, checked once for symbolic links, then remembered, so that a put into a known folder asks the
 * filesystem nothing. A remembered folder that somebody removed shows as ENOENT; `forget` it and ensure it again.
 */
export class Folders {
  readonly #root: string;
  readonly #known = new Set<string>();
  /** Folders that a put is about to give a file to, each as often as there are such puts. */
  readonly #awaited = new Map<string, number>();
  readonly #making = new Map<string, Making>();
  readonly #syncs = new Map<string, { running: Promise<void>; next: Promise<void> | undefined }>();

  /** @param root an absolute path with every symbolic link resolved; it exists. */
  constructor(root: string) {
    this.#root = root;
  }

  /**
   * Makes `folder` and its parents, each entry synced to disk, all of them at once: one wait for the disk instead of one per level.
   * Rejects with ELOOP if one of them is a symbolic link.
   */
  async ensure(folder: string): Promise<void> {
    await this.#make(folder).durable;
  }

  /** Runs `fn`, during which `prune` here does not remove the folder; another process still may. */
  async expecting<T>(folder: string, fn: () => Promise<T>): Promise<T> {
    this.#awaited.set(folder, (this.#awaited.get(folder) ?? 0) + 1);
    try {
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

  /** Removes `folder` and its parents, as long as they are empty and nobody here is about to fill them. */
  async prune(folder: string): Promise<void> {
    for (let each = folder; each.length > this.#root.length; each = dirname(each)) {
      if (this.#isAwaited(each)) return;
      this.#known.delete(each);
      const removed = await rmdir(each).then(
        () => true,
        (error: unknown) => errnoOf(error) === "ENOENT",
      );
      // Not empty, a mount, or not ours to remove: an empty folder harms nobody.
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

  #make(folder: string): Making {
    if (folder === this.#root || this.#known.has(folder)) return MADE;
    const already = this.#making.get(folder);
    if (already !== undefined) return already;
    const parent = this.#make(dirname(folder));
    const made = parent.made.then(() => makeFolder(folder));
    const making = { made, durable: this.#settle(folder, parent, made) };
    this.#making.set(folder, making);
    return making;
  }

  async #settle(folder: string, parent: Making, made: Promise<void>): Promise<void> {
    try {
      // Also when it existed: another process may have made it and not yet synced it.
      const synced = made.then(() => this.sync(dirname(folder)));
      await Promise.all([parent.durable, synced]);
      const oldest = this.#known.size < MOST_REMEMBERED ? undefined : this.#known.values().next().value;
      if (oldest !== undefined) this.#known.delete(oldest);
      this.#known.add(folder);
    } finally {
      this.#making.delete(folder);
    }
  }
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
    const found = await lstat(folder);
    if (found.isSymbolicLink()) throw systemError("ELOOP");
    if (!found.isDirectory()) throw systemError("ENOTDIR");
  }
}

function systemError(code: "ELOOP" | "ENOTDIR"): Error {
  return Object.assign(new Error(`${code}: refused by the store`), { code });
}
