import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import pRetry from "p-retry";
import { BodyDigest, chunksOf } from "../body.ts";
import { StorageError } from "../errors.ts";
import type { ObjectBody, PutOptions, StoredObject } from "../object-store.ts";
import type { S3Calls } from "./s3-calls.ts";
import { partSize, partsInFlight } from "./s3-part-sizes.ts";
import { cutIntoParts, type Part } from "./s3-parts.ts";

/**
 * A part's bytes are still here when its upload fails, while the body that gave them is past: so the driver itself tries again, or one lost
 * packet in hours of upload would cost the whole of it.
 */
const RETRY = { retries: 4, minTimeout: 250, maxTimeout: 4_000, factor: 2, randomize: true } as const;

/**
 * Stores a body of unknown length: a short one by one PutObject, a longer one by a multipart upload, which is aborted on any failure.
 *
 * @param body chunks are copied into part buffers, at most `partsInFlight` + 1 of them
 */
export async function upload(
  calls: S3Calls,
  key: string,
  body: ObjectBody,
  options: PutOptions,
): Promise<StoredObject> {
  if (body instanceof Uint8Array && body.byteLength < partSize(1)) return putWhole(calls, key, body, options);
  // Whatever fails first stops all: parts on their way, and the wait for a body that hangs.
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(options.signal?.reason);
  if (options.signal?.aborted) onAbort();
  options.signal?.addEventListener("abort", onAbort, { once: true });
  const digest = new BodyDigest();
  const parts = cutIntoParts(digesting(chunksOf(body, stop.signal), digest));
  try {
    const first = await parts.next();
    if (first.done) throw new Error("a body has at least one part");
    if (first.value.short) await retrying(options, () => putWhole(calls, key, first.value.data, options));
    else await putInParts({ calls, key, options, stop }, first.value, parts);
    return digest.result();
  } finally {
    options.signal?.removeEventListener("abort", onAbort);
    await parts.return(undefined);
  }
}

async function putWhole(calls: S3Calls, key: string, data: Uint8Array, options: PutOptions): Promise<StoredObject> {
  await calls.send({ doing: "storing", key, signal: options.signal, bytes: data.byteLength }, (call) =>
    calls.client.send(
      new PutObjectCommand({
        Bucket: calls.bucket,
        Key: key,
        Body: data,
        ContentLength: data.byteLength,
        ...(options.onlyIfAbsent && { IfNoneMatch: "*" }),
      }),
      call,
    ),
  );
  const digest = new BodyDigest();
  digest.add(data);
  return digest.result();
}

interface MultipartUpload {
  readonly calls: S3Calls;
  readonly key: string;
  readonly options: PutOptions;
  /** Aborted with the first failure as its reason. */
  readonly stop: AbortController;
}

interface UploadedPart {
  readonly PartNumber: number;
  readonly ETag: string | undefined;
}

async function putInParts(upload: MultipartUpload, first: Part, rest: AsyncGenerator<Part>): Promise<void> {
  if (upload.options.onlyIfAbsent) await assertAbsent(upload);
  const uploadId = await createUpload(upload);
  const inFlight = new Set<Promise<void>>();
  const uploaded: UploadedPart[] = [];
  const send = async (part: Part): Promise<void> => {
    while (inFlight.size >= partsInFlight(part.data.byteLength)) await Promise.race(inFlight);
    upload.stop.signal.throwIfAborted();
    const sending = uploadPart(upload, uploadId, part)
      .then((done) => void uploaded.push(done))
      .catch((error: unknown) => upload.stop.abort(error))
      .finally(() => inFlight.delete(sending));
    inFlight.add(sending);
  };
  try {
    await send(first);
    for await (const part of rest) await send(part);
    await Promise.all(inFlight);
    upload.stop.signal.throwIfAborted();
    await completeUpload(upload, uploadId, uploaded);
  } catch (error) {
    upload.stop.abort(error);
    // A part that arrives after the abort would stay, unseen and paid for.
    await Promise.all(inFlight);
    await abortUpload(upload.calls, upload.key, uploadId);
    throw error;
  }
}

async function assertAbsent({ calls, key, stop }: MultipartUpload): Promise<void> {
  const context = { doing: "looking at", key, signal: stop.signal };
  const found = await calls
    .send(context, (call) => calls.client.send(new HeadObjectCommand({ Bucket: calls.bucket, Key: key }), call))
    .catch((error: unknown) => {
      if (error instanceof StorageError && error.code === "object_missing") return null;
      throw error;
    });
  if (found !== null) throw new StorageError("object_exists", `An object ${key} exists already.`, { key });
}

async function createUpload({ calls, key, stop }: MultipartUpload): Promise<string> {
  const created = await retrying({ signal: stop.signal }, () =>
    calls.send({ doing: "beginning the upload of", key, signal: stop.signal }, (call) =>
      calls.client.send(new CreateMultipartUploadCommand({ Bucket: calls.bucket, Key: key }), call),
    ),
  );
  if (created.UploadId === undefined)
    throw new StorageError("store_error", `S3 gave no upload id for ${key}.`, { key });
  return created.UploadId;
}

async function uploadPart({ calls, key, stop }: MultipartUpload, uploadId: string, part: Part): Promise<UploadedPart> {
  try {
    const context = { doing: `storing part ${part.number} of`, key, signal: stop.signal, bytes: part.data.byteLength };
    const request = {
      Bucket: calls.bucket,
      Key: key,
      UploadId: uploadId,
      PartNumber: part.number,
      Body: part.data,
      ContentLength: part.data.byteLength,
    };
    const answer = await retrying({ signal: stop.signal }, () =>
      calls.send(context, (call) => calls.client.send(new UploadPartCommand(request), call)),
    );
    return { PartNumber: part.number, ETag: answer.ETag };
  } finally {
    part.release();
  }
}

async function completeUpload(
  { calls, key, options, stop }: MultipartUpload,
  uploadId: string,
  uploaded: UploadedPart[],
): Promise<void> {
  const request = {
    Bucket: calls.bucket,
    Key: key,
    UploadId: uploadId,
    MultipartUpload: { Parts: uploaded.toSorted((a, b) => a.PartNumber - b.PartNumber) },
    ...(options.onlyIfAbsent && { IfNoneMatch: "*" }),
  };
  const complete = () =>
    calls.send({ doing: "completing the upload of", key, signal: stop.signal, bytes: 0 }, (call) =>
      calls.client.send(new CompleteMultipartUploadCommand(request), call),
    );
  // An answered failure may be tried again. After a lost answer the upload may be complete, and a second try would be told "no such upload".
  await pRetry(complete, {
    ...RETRY,
    signal: stop.signal,
    shouldRetry: ({ error }) => error instanceof StorageError && error.code === "store_error" && error.retryable,
  });
}

/** Not under the caller's signal: it has aborted, and this is what it leads to. Its own failure leaves the upload to `collectStaleUploads`. */
export async function abortUpload(calls: S3Calls, key: string, uploadId: string): Promise<void> {
  await retrying({ signal: undefined }, () =>
    calls.send({ doing: "giving up the upload of", key, signal: undefined }, (call) =>
      calls.client.send(new AbortMultipartUploadCommand({ Bucket: calls.bucket, Key: key, UploadId: uploadId }), call),
    ),
  ).catch(() => {});
}

function retrying<T>(options: PutOptions, call: () => Promise<T>): Promise<T> {
  // As in withRetry: after a lost answer, the object that exists might be our own.
  if (options.onlyIfAbsent) return call();
  return pRetry(call, {
    ...RETRY,
    ...(options.signal && { signal: options.signal }),
    shouldRetry: ({ error }) => error instanceof StorageError && error.retryable,
  });
}

async function* digesting(chunks: AsyncIterable<Uint8Array>, digest: BodyDigest): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    digest.add(chunk);
    yield chunk;
  }
}
