import { createHash } from "node:crypto";
import { onTestFinished } from "vitest";
import type { ObjectInfo, ObjectStore } from "../object-store.ts";

export interface StoreUnderTest {
  readonly store: ObjectStore;
  /** Names of what a failed put could have left behind: temporary files, unfinished uploads. */
  leftovers(): Promise<string[]>;
}

export type MakeStore = () => Promise<StoreUnderTest>;

export const MIB = 1024 * 1024;

/** A store for this test, closed when it ends. */
export async function storeForTest(makeStore: MakeStore): Promise<StoreUnderTest> {
  const made = await makeStore();
  onTestFinished(() => made.store.close());
  return made;
}

// Not periodic in any power of two: a swapped or repeated block shows.
const PATTERN = Buffer.from(Uint8Array.from({ length: 65_521 }, (_, at) => (at * 7 + (at >> 8)) % 251));

/** `bytes` bytes in chunks of an odd size, the same ones at every call; tells `onChunk` how many were given out so far. */
export async function* patternBody(bytes: number, onChunk?: (given: number) => void): AsyncGenerator<Uint8Array> {
  for (let given = 0; given < bytes; ) {
    const chunk = PATTERN.subarray(0, Math.min(PATTERN.byteLength, bytes - given));
    given += chunk.byteLength;
    yield chunk;
    onChunk?.(given);
  }
}

export async function sha256Of(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}

export async function readAll(
  store: ObjectStore,
  key: string,
  range?: { offset: number; length: number },
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const stream: AsyncIterable<Uint8Array> = await store.get(key, { range });
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export async function readText(store: ObjectStore, key: string): Promise<string> {
  return (await readAll(store, key)).toString();
}

export async function keysOf(listing: AsyncIterable<ObjectInfo>): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of listing) keys.push(key);
  return keys;
}

export function text(content: string): Uint8Array {
  return Buffer.from(content);
}

/** A body that stops in its middle until it is let go, one way or the other. */
export function pausedBody(before: Uint8Array, after: Uint8Array) {
  const reached = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  async function* body(): AsyncGenerator<Uint8Array> {
    yield before;
    reached.resolve();
    await gate.promise;
    yield after;
  }
  gate.promise.catch(() => {});
  return {
    body: body(),
    paused: reached.promise,
    finish: () => gate.resolve(),
    fail: (error: Error) => gate.reject(error),
  };
}
