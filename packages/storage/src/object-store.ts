import type { Readable } from "node:stream";

/**
 * Where bytes go. Every driver keeps this contract, and `conformance.ts` holds each of them to it.
 *
 * **Keys** are text like `tenants/7/backups/9/manifest.json`: see `object-key.ts`. A key that could leave the store, or that one of the drivers
 * could not keep, is refused by all of them with `invalid_key`, so a store can be moved from one driver to another. A key must not be another
 * key's folder (`a` beside `a/b`): the filesystem driver refuses it.
 *
 * **Atomic.** A reader sees an object whole or not at all, and sees the old one until the new one is whole. When `put` rejects, because the body
 * threw, the signal aborted or the store failed, nothing of it is visible and nothing is left behind: no temporary file, no unfinished upload.
 * One thing no store can exclude: if the answer to the very last request is lost (`store_unreachable`), the new object may stand, whole.
 * After a crash of the process leftovers may exist. They are never listed; `collectUnfinished` removes them.
 *
 * **Durable.** When `put` resolves, the object survives a power cut: the store has acknowledged it, or the file and its folders are synced.
 *
 * **Ordered.** What was put before a `list`, `get` or `head` began is seen by it. Of two concurrent puts of one key one wins, whole.
 * Listings come in the order of the keys' UTF-8 bytes. An object that appears or goes during a listing may or may not be in it; every other
 * object is in it exactly once.
 *
 * **Errors** are `StorageError`s, with two exceptions that pass through as they are: what a body throws, and the reason of an aborted signal.
 * After an abort the promise settles within moments, also when the body or the store hangs.
 *
 * **Memory** is flat: it depends on no object's size and on no listing's length. A body is asked for its next chunk only when there is room.
 */
export interface ObjectStore {
  /**
   * Stores `body` under `key` and replaces what was there. A chunk belongs to the store once it was yielded: it must not be changed afterwards.
   * With `onlyIfAbsent` it fails with `object_exists` if the key is taken, and of several such puts at once exactly one succeeds. (On S3 that
   * holds for bodies of up to 8 MiB; beyond, on servers that ignore a conditional CompleteMultipartUpload, the key is merely looked at before.)
   *
   * @returns the length and the SHA-256 of what was stored, computed here over the bytes that were sent.
   */
  put(key: string, body: ObjectBody, options?: PutOptions): Promise<StoredObject>;

  /**
   * The object's bytes, or `range` of them, cut at the object's end: a range behind the end gives no bytes. Resolves when the first bytes have
   * arrived, so that a decorator can try again up to there. Throws `object_missing`. If the store fails later, or the signal aborts, the stream
   * ends with an error; it never ends early as if it were whole. Read it to its end or destroy it: it holds a file or a socket.
   */
  get(key: string, options?: GetOptions): Promise<Readable>;

  /** What is known of the object, or null if there is none. */
  head(key: string, options?: CallOptions): Promise<ObjectInfo | null>;

  /** Every object whose key begins with `prefix` (any text, also ending inside a name; "" for all), in key order. */
  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo>;

  /**
   * Keys with no object are fine. An invalid key deletes nothing; another failure may leave some deleted. Durable when it resolves: what must go
   * before something else goes in an earlier call.
   */
  delete(keys: readonly string[], options?: CallOptions): Promise<void>;

  /**
   * Removes what was begun and never ended: temporary files that nobody wrote to since `before`, uploads that began before it. Who still writes one of
   * them fails. Tells how many there were.
   */
  collectUnfinished(options: CollectOptions): Promise<number>;

  /** Proves that the store answers and may be written to, and leaves nothing behind. For `/readyz`. */
  probe(options?: CallOptions): Promise<void>;

  /** Gives sockets back. The store is of no use afterwards. */
  close(): Promise<void>;
}

export type ObjectBody = AsyncIterable<Uint8Array> | Uint8Array;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface PutOptions extends CallOptions {
  readonly onlyIfAbsent?: boolean | undefined;
}

export interface GetOptions extends CallOptions {
  readonly range?: ByteRange | undefined;
}

export interface CollectOptions extends CallOptions {
  readonly before: Date;
}

export interface ListOptions extends CallOptions {
  /** Only keys behind this one, in key order. Lets an interrupted listing go on. */
  readonly startAfter?: string | undefined;
}

/** Whole numbers of bytes, neither below 0. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface ObjectInfo {
  readonly key: string;
  readonly bytes: number;
  readonly modifiedAt: Date;
}

export interface StoredObject {
  readonly bytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
}
