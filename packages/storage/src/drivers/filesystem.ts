import { randomUUID } from "node:crypto";
import { constants, type Stats } from "node:fs";
import {
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  rm,
  stat,
  unlink,
} from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Readable } from "node:stream";
import { assertRange, BodyDigest, chunksOf } from "../body.ts";
import { StorageError } from "../errors.ts";
import { assertKey, assertPrefix, RESERVED_SEGMENT } from "../object-key.ts";
import type {
  CallOptions,
  CollectOptions,
  GetOptions,
  ListOptions,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
  PutOptions,
  StoredObject,
} from "../object-store.ts";
import { type ByteSource, openObjectStream } from "../object-stream.ts";
import { errnoOf, fromSystemError } from "./filesystem-errors.ts";
import { Folders } from "./filesystem-folders.ts";
import { listFolder } from "./filesystem-listing.ts";

export interface FilesystemStoreOptions {
  /** The store's folder; made if it is missing. Other things may lie beside it, nothing else in it. */
  readonly root: string;
}

/** Small chunks are gathered up to this before a write: fewer trips to the thread pool, little memory. */
const WRITE_BYTES = 256 * 1024;
const READ_BYTES = 256 * 1024;
/** A delete by another process may remove the empty folder between our mkdir and our rename; losing that race so often in a row means something else. */
const PLACE_ATTEMPTS = 10;

/** Objects as files under a folder: `<root>/<key>`; temporary files in `<root>/.rowback/tmp`. See `ObjectStore` for the contract. */
export function openFilesystemStore(options: FilesystemStoreOptions): ObjectStore {
  return new FilesystemStore(resolve(options.root));
}

interface Ready {
  readonly root: string;
  readonly temporary: string;
  readonly folders: Folders;
}

class FilesystemStore implements ObjectStore {
  readonly #configuredRoot: string;
  #ready: Promise<Ready> | undefined;

  constructor(root: string) {
    this.#configuredRoot = root;
  }

  async put(key: string, body: ObjectBody, options: PutOptions = {}): Promise<StoredObject> {
    assertKey(key);
    options.signal?.throwIfAborted();
    const ready = await this.#open("opening");
    const folder = dirname(join(ready.root, key));
    return ready.folders
      .expecting(folder, async () => {
        const temporary = join(ready.temporary, randomUUID());
        try {
          // While the body is written; if it fails, `place` will say so.
          ready.folders.ensure(folder).catch(() => {});
          const stored = await writeDurably(temporary, body, key, options.signal);
          await naming("storing", key, () => place(ready, temporary, key, options.onlyIfAbsent ?? false));
          return stored;
        } catch (error) {
          await rm(temporary, { force: true }).catch(() => {});
          throw error;
        }
      })
      .catch(async (error: unknown) => {
        await ready.folders.prune(folder);
        throw error;
      });
  }

  async get(key: string, options: GetOptions = {}): Promise<Readable> {
    assertKey(key);
    assertRange(options.range, key);
    options.signal?.throwIfAborted();
    const { root, folders } = await this.#open("opening");
    const source = await naming("reading", key, () => openForReading(root, folders, key, options));
    return openObjectStream(source, options.signal);
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectInfo | null> {
    assertKey(key);
    options.signal?.throwIfAborted();
    const { root, folders } = await this.#open("opening");
    const path = join(root, key);
    const found = await naming("looking at", key, () =>
      folders
        .check(dirname(path))
        .then(() => lstat(path))
        .catch(nullIfMissing),
    );
    return found?.isFile() ? { key, bytes: found.size, modifiedAt: found.mtime } : null;
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    assertPrefix(prefix);
    options.signal?.throwIfAborted();
    const { root, folders } = await this.#open("opening");
    try {
      const folder = join(root, prefix.slice(0, prefix.lastIndexOf("/") + 1), ".");
      if ((await folders.check(folder).catch(nullIfMissing)) === null) return;
      yield* listFolder({ root, prefix, startAfter: options.startAfter, signal: options.signal });
    } catch (error) {
      throw fromSystemError(error, "listing", prefix);
    }
  }

  async delete(keys: readonly string[], options: CallOptions = {}): Promise<void> {
    for (const key of keys) assertKey(key);
    options.signal?.throwIfAborted();
    const { root, folders } = await this.#open("opening");
    for (const [at, key] of keys.entries()) {
      options.signal?.throwIfAborted();
      const path = join(root, key);
      const folder = dirname(path);
      await naming("deleting", key, () => deleteFile(folders, path));
      // Keys of one backup come together: their folder is synced and tried for emptiness once, behind the last of them.
      const next = keys[at + 1];
      if (next !== undefined && dirname(join(root, next)) === folder) continue;
      await naming("deleting", key, () => folders.sync(folder).catch(nullIfMissing));
      await folders.prune(folder);
    }
  }

  async collectUnfinished({ before, signal }: CollectOptions): Promise<number> {
    signal?.throwIfAborted();
    const { temporary } = await this.#open("opening");
    let collected = 0;
    for (const name of await naming("collecting", temporary, () => readdir(temporary))) {
      signal?.throwIfAborted();
      const path = join(temporary, name);
      const found = await stat(path).catch(nullIfMissing);
      if (found === null || found.mtime >= before) continue;
      await naming("collecting", name, () => rm(path, { force: true }));
      collected += 1;
    }
    return collected;
  }

  async probe(options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    const { temporary } = await this.#open("probing");
    const path = join(temporary, randomUUID());
    try {
      await writeDurably(path, Buffer.from("probe"), "the probe", options.signal);
    } finally {
      await rm(path, { force: true }).catch(() => {});
    }
  }

  async close(): Promise<void> {}

  #open(doing: string): Promise<Ready> {
    // A failure is not remembered: the disk may be mounted later.
    this.#ready ??= prepare(this.#configuredRoot).catch((error: unknown) => {
      this.#ready = undefined;
      throw fromSystemError(error, `${doing} the store's folder`);
    });
    return this.#ready;
  }
}

async function prepare(configuredRoot: string): Promise<Ready> {
  const firstMade = await mkdir(configuredRoot, { recursive: true, mode: 0o700 });
  const root = await realpath(configuredRoot);
  const folders = new Folders(root);
  if (firstMade !== undefined) await syncUpTo(folders, root, dirname(await realpath(firstMade)));
  const temporary = join(root, RESERVED_SEGMENT, "tmp");
  await folders.ensure(temporary);
  return { root, temporary, folders };
}

/** Syncs the parents of a root that was just made, so that the whole way to it survives a power cut. */
async function syncUpTo(folders: Folders, root: string, topmost: string): Promise<void> {
  for (let each = dirname(root); each.length >= topmost.length; each = dirname(each)) {
    await folders.sync(each);
    if (each === dirname(each)) return;
  }
}

async function writeDurably(
  path: string,
  body: ObjectBody,
  key: string,
  signal: AbortSignal | undefined,
): Promise<StoredObject> {
  const handle = await naming("writing", key, () => open(path, "wx", 0o600));
  try {
    const digest = new BodyDigest();
    let batch: Uint8Array[] = [];
    let bytes = 0;
    // The disk works while the digest is computed.
    const flush = async (): Promise<void> => {
      const data = batch.length === 1 && batch[0] ? batch[0] : Buffer.concat(batch, bytes);
      batch = [];
      bytes = 0;
      const written = naming("writing", key, () => writeAll(handle, data));
      digest.add(data);
      await written;
    };
    for await (const chunk of chunksOf(body, signal)) {
      batch.push(chunk);
      bytes += chunk.byteLength;
      if (bytes >= WRITE_BYTES) await flush();
    }
    if (bytes > 0) await flush();
    signal?.throwIfAborted();
    // The data and its length; times may follow later.
    await naming("syncing", key, () => handle.datasync());
    return digest.result();
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, data: Uint8Array): Promise<void> {
  // A disk that is almost full takes a part of it, and only the next call fails.
  for (let at = 0; at < data.byteLength; ) at += (await handle.write(data, at)).bytesWritten;
}

/** Gives the finished file its name, durably. */
async function place({ root, folders }: Ready, temporary: string, key: string, onlyIfAbsent: boolean): Promise<void> {
  const path = join(root, key);
  const folder = dirname(path);
  for (let attempt = 1; ; attempt++) {
    try {
      await folders.ensure(folder);
      if (onlyIfAbsent) await linkAbsent(temporary, path, key);
      else await rename(temporary, path);
      break;
    } catch (error) {
      if (errnoOf(error) !== "ENOENT" || attempt === PLACE_ATTEMPTS) throw error;
      folders.forget(folder);
    }
  }
  // A folder that is gone again took the object with it: somebody deleted it after it was stored.
  await folders.sync(folder).catch(nullIfMissing);
}

async function linkAbsent(temporary: string, path: string, key: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
    throw new StorageError("object_exists", `An object ${key} exists already.`, { key, cause: error });
  }
  await unlink(temporary);
}

async function openForReading(root: string, folders: Folders, key: string, { range }: GetOptions): Promise<ByteSource> {
  const path = join(root, key);
  const opened = await folders
    .check(dirname(path))
    .then(() => open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK))
    .catch(nullIfMissing);
  const found: Stats | undefined = await opened?.stat();
  if (opened === null || !found?.isFile()) {
    await opened?.close();
    throw new StorageError("object_missing", `There is no object ${key}.`, { key });
  }
  let at = range?.offset ?? 0;
  const end = range === undefined ? found.size : Math.min(found.size, range.offset + range.length);
  return {
    pull: async () => {
      const wanted = Math.min(READ_BYTES, end - at);
      if (wanted <= 0) return null;
      const buffer = Buffer.allocUnsafeSlow(wanted);
      const { bytesRead } = await naming("reading", key, () => opened.read(buffer, 0, wanted, at));
      if (bytesRead === 0)
        throw new StorageError("store_error", `The file of ${key} ended early: it was cut.`, { key });
      at += bytesRead;
      return buffer.subarray(0, bytesRead);
    },
    release: () => opened.close(),
  };
}

async function deleteFile(folders: Folders, path: string): Promise<void> {
  try {
    await folders.check(dirname(path));
    if ((await lstat(path)).isFile()) await unlink(path);
  } catch (error) {
    nullIfMissing(error);
  }
}

function nullIfMissing(error: unknown): null {
  const errno = errnoOf(error);
  if (errno === "ENOENT" || errno === "ENOTDIR") return null;
  throw error;
}

async function naming<T>(doing: string, key: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw fromSystemError(error, doing, key);
  }
}
