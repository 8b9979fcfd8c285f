import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import {
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandInput,
  type ListObjectsV2CommandOutput,
  S3Client,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import { assertRange } from "../body.ts";
import { StorageError } from "../errors.ts";
import { assertKey, assertPrefix, RESERVED_SEGMENT } from "../object-key.ts";
import type {
  ByteRange,
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
import { type ByteSource, emptyObjectStream, openObjectStream } from "../object-stream.ts";
import { startDeadline } from "./deadline.ts";
import { S3Calls } from "./s3-calls.ts";
import { fromS3Code, fromS3Error, unreachable } from "./s3-errors.ts";
import { collectStaleUploads } from "./s3-leftovers.ts";
import { abortUpload, upload } from "./s3-upload.ts";

export interface S3StoreOptions {
  readonly bucket: string;
  readonly region: string;
  readonly endpoint?: string | undefined;
  readonly accessKeyId?: string | undefined;
  readonly secretAccessKey?: string | undefined;
  readonly forcePathStyle: boolean;
  /** Where in the bucket this store may write by itself: "" or a key's beginning with its `/`. Keys given to the store are whole. */
  readonly ownPrefix: string;
  /** How long the server may keep silent, in milliseconds; an upload's bytes add to it. */
  readonly callMs?: number | undefined;
}

const CONNECT_MS = 5_000;
const KEYS_PER_DELETE = 1_000;
/** Waiting for a socket counts as connecting: there must be more than there can be open streams and parts. */
const MOST_SOCKETS = 256;

/** Objects in one bucket of S3, or of a server that speaks its language. See `ObjectStore` for the contract. */
export function openS3Store(options: S3StoreOptions): ObjectStore {
  return new S3Store(options);
}

class S3Store implements ObjectStore {
  readonly #calls: S3Calls;
  readonly #ownPrefix: string;

  constructor(options: S3StoreOptions) {
    this.#calls = new S3Calls(openClient(options), options.bucket, options.callMs);
    this.#ownPrefix = options.ownPrefix;
  }

  async put(key: string, body: ObjectBody, options: PutOptions = {}): Promise<StoredObject> {
    assertKey(key);
    options.signal?.throwIfAborted();
    return await upload(this.#calls, key, body, options);
  }

  async get(key: string, options: GetOptions = {}): Promise<Readable> {
    const { range, signal } = options;
    assertKey(key);
    assertRange(range, key);
    signal?.throwIfAborted();
    // S3 has no way to ask for no bytes.
    if (range?.length === 0) return this.#getNothing(key, options);
    const source = await this.#openBody(key, range, signal);
    return source === null ? emptyObjectStream() : openObjectStream(source, signal);
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectInfo | null> {
    assertKey(key);
    options.signal?.throwIfAborted();
    const { client, bucket } = this.#calls;
    try {
      const answer = await this.#calls.send({ doing: "looking at", key, signal: options.signal }, (call) =>
        client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }), call),
      );
      return { key, bytes: answer.ContentLength ?? 0, modifiedAt: answer.LastModified ?? new Date(0) };
    } catch (error) {
      if (error instanceof StorageError && error.code === "object_missing") return null;
      throw error;
    }
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    assertPrefix(prefix);
    const { client, bucket } = this.#calls;
    let from: { StartAfter?: string; ContinuationToken?: string } | undefined =
      options.startAfter === undefined ? {} : { StartAfter: options.startAfter };
    while (from !== undefined) {
      options.signal?.throwIfAborted();
      const query: ListObjectsV2CommandInput = { Bucket: bucket, Prefix: prefix, ...from };
      const page: ListObjectsV2CommandOutput = await this.#calls.send(
        { doing: "listing", key: prefix, signal: options.signal },
        (call) => client.send(new ListObjectsV2Command(query), call),
      );
      for (const { Key, Size, LastModified } of page.Contents ?? []) {
        options.signal?.throwIfAborted();
        if (Key !== undefined) yield { key: Key, bytes: Size ?? 0, modifiedAt: LastModified ?? new Date(0) };
      }
      const token = page.IsTruncated ? page.NextContinuationToken : undefined;
      from = token === undefined ? undefined : { ContinuationToken: token };
    }
  }

  async delete(keys: readonly string[], options: CallOptions = {}): Promise<void> {
    for (const key of keys) assertKey(key);
    for (let at = 0; at < keys.length; at += KEYS_PER_DELETE) {
      options.signal?.throwIfAborted();
      await this.#deleteBatch(keys.slice(at, at + KEYS_PER_DELETE), options.signal);
    }
  }

  collectUnfinished({ before, signal }: CollectOptions): Promise<number> {
    return collectStaleUploads(this.#calls, { prefix: this.#ownPrefix, before, signal });
  }

  /** By an upload begun and given up: it takes the right to write, and leaves no object, no version and no delete marker. */
  async probe({ signal }: CallOptions = {}): Promise<void> {
    const key = `${this.#ownPrefix}${RESERVED_SEGMENT}/probe-${randomUUID()}`;
    const { client, bucket } = this.#calls;
    const begun = await this.#calls.send({ doing: "probing", signal }, (call) =>
      client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: key }), call),
    );
    if (begun.UploadId !== undefined) await abortUpload(this.#calls, key, begun.UploadId);
  }

  async close(): Promise<void> {
    this.#calls.client.destroy();
  }

  async #getNothing(key: string, options: CallOptions): Promise<Readable> {
    if ((await this.head(key, options)) !== null) return emptyObjectStream();
    throw new StorageError("object_missing", `There is no object ${key}.`, { key });
  }

  /** Null if the range lies behind the object's end. */
  async #openBody(
    key: string,
    range: ByteRange | undefined,
    signal: AbortSignal | undefined,
  ): Promise<ByteSource | null> {
    // One deadline over the stream's life: it runs while we wait for the server, and rests while the reader takes its time.
    const deadline = startDeadline(this.#calls.callMs, signal);
    const failure = (error: unknown): unknown => {
      if (signal?.aborted) return signal.reason;
      return deadline.expired ? unreachable(`reading ${key}`, "timed out", key) : fromS3Error(error, "reading", key);
    };
    try {
      const { client, bucket } = this.#calls;
      const query = {
        Bucket: bucket,
        Key: key,
        ...(range && { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` }),
      };
      const answer = await client.send(new GetObjectCommand(query), { abortSignal: deadline.signal });
      const { Body: body, ContentLength: announced } = answer;
      if (!(body instanceof Readable)) throw new Error("the SDK gave no stream");
      deadline.signal.addEventListener("abort", () => body.destroy(), { once: true });
      const chunks = body.iterator({ destroyOnReturn: true });
      let received = 0;
      return {
        pull: async () => {
          deadline.restart();
          try {
            const next: IteratorResult<Uint8Array, unknown> = await chunks.next();
            if (!next.done) received += next.value.byteLength;
            if (!next.done) return next.value;
          } catch (error) {
            throw failure(error);
          } finally {
            deadline.pause();
          }
          if (announced !== undefined && received !== announced)
            throw failure(unreachable(`reading ${key}`, "the answer broke off", key));
          return null;
        },
        release: async () => {
          deadline.clear();
          body.destroy();
        },
      };
    } catch (error) {
      deadline.clear();
      if (error instanceof S3ServiceException && error.$metadata.httpStatusCode === 416) return null;
      throw failure(error);
    }
  }

  async #deleteBatch(keys: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    const { client, bucket } = this.#calls;
    const [only] = keys;
    if (only !== undefined && keys.length === 1) {
      await this.#calls.send({ doing: "deleting", key: only, signal }, (call) =>
        client.send(new DeleteObjectCommand({ Bucket: bucket, Key: only }), call),
      );
      return;
    }
    const request = { Bucket: bucket, Delete: { Objects: keys.map((Key) => ({ Key })), Quiet: true } };
    const answer = await this.#calls.send({ doing: `deleting ${keys.length} objects`, signal }, (call) =>
      client.send(new DeleteObjectsCommand(request), call),
    );
    const failed = answer.Errors?.find((error) => error.Code !== "NoSuchKey");
    if (failed !== undefined) throw fromS3Code(failed.Code ?? "an unnamed error", "deleting", failed.Key);
  }
}

function openClient({ region, endpoint, accessKeyId, secretAccessKey, forcePathStyle }: S3StoreOptions): S3Client {
  return new S3Client({
    region,
    forcePathStyle,
    ...(endpoint !== undefined && { endpoint }),
    ...(accessKeyId !== undefined &&
      secretAccessKey !== undefined && { credentials: { accessKeyId, secretAccessKey } }),
    // Older servers refuse the newer checksums; ours is the SHA-256 over what was sent, and the signature covers each body.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    // Tries are counted in one place: withRetry, and for parts s3-upload.ts.
    maxAttempts: 1,
    // Else every part of 2 MiB and more would get a connection of its own, outside the pool that close() closes.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      // Ours, per call: see s3-calls.ts. The SDK's would also run while a reader takes its time.
      socketTimeout: 0,
      requestTimeout: 0,
      httpAgent: { keepAlive: true, maxSockets: MOST_SOCKETS },
      httpsAgent: { keepAlive: true, maxSockets: MOST_SOCKETS },
    },
  });
}
