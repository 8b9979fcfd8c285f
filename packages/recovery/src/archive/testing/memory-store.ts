import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { type ObjectInfo, type ObjectStore, type PutOptions, StorageError, type StoredObject } from "@rowback/storage";

/** An object store in memory, for tests without services. Its objects can be looked at, and damaged. */
export class MemoryStore implements ObjectStore {
  readonly objects = new Map<string, { bytes: Buffer; modifiedAt: Date }>();

  async put(
    key: string,
    body: AsyncIterable<Uint8Array> | Uint8Array,
    { onlyIfAbsent = false }: PutOptions = {},
  ): Promise<StoredObject> {
    if (onlyIfAbsent && this.objects.has(key)) throw new StorageError("object_exists", `there is ${key}`, { key });
    const pieces: Uint8Array[] = [];
    if (body instanceof Uint8Array) pieces.push(body);
    else for await (const piece of body) pieces.push(Buffer.from(piece));
    const bytes = Buffer.concat(pieces);
    this.objects.set(key, { bytes, modifiedAt: new Date() });
    return { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  }

  async get(key: string, options: { range?: { offset: number; length: number } | undefined } = {}): Promise<Readable> {
    const bytes = this.objects.get(key)?.bytes;
    if (bytes === undefined) throw new StorageError("object_missing", `no object ${key}`, { key });
    const { offset, length } = options.range ?? { offset: 0, length: bytes.length };
    return Readable.from(pieces(bytes.subarray(offset, offset + length)));
  }

  async head(key: string): Promise<ObjectInfo | null> {
    const object = this.objects.get(key);
    return object === undefined ? null : { key, bytes: object.bytes.length, modifiedAt: object.modifiedAt };
  }

  async *list(prefix: string): AsyncGenerator<ObjectInfo> {
    for (const key of [...this.objects.keys()].toSorted()) {
      const info = key.startsWith(prefix) ? await this.head(key) : null;
      if (info !== null) yield info;
    }
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.objects.delete(key);
  }

  async collectUnfinished(): Promise<number> {
    return 0;
  }

  async probe(): Promise<void> {}

  async close(): Promise<void> {}
}

/** As a network delivers them: in pieces of odd sizes. */
function* pieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 7_919) yield bytes.subarray(at, at + 7_919);
}
