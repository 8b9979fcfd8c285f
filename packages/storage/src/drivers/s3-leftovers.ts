import {
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandInput,
  type ListMultipartUploadsCommandOutput,
} from "@aws-sdk/client-s3";
import type { S3Calls } from "./s3-calls.ts";
import { abortUpload } from "./s3-upload.ts";

/**
 * Aborts uploads that were begun before `before` and never ended: those of processes that died. They are invisible to listings, and paid for.
 *
 * @param prefix only uploads of keys that begin with it
 * @returns how many there were
 */
export async function collectStaleUploads(
  calls: S3Calls,
  request: { prefix: string; before: Date; signal: AbortSignal | undefined },
): Promise<number> {
  let collected = 0;
  let at: { KeyMarker?: string; UploadIdMarker?: string } | undefined = {};
  while (at !== undefined) {
    const query: ListMultipartUploadsCommandInput = { Bucket: calls.bucket, Prefix: request.prefix, ...at };
    const page: ListMultipartUploadsCommandOutput = await calls.send(
      { doing: "listing uploads", signal: request.signal },
      (call) => calls.client.send(new ListMultipartUploadsCommand(query), call),
    );
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      request.signal?.throwIfAborted();
      if (Key === undefined || UploadId === undefined || Initiated === undefined || Initiated >= request.before)
        continue;
      await abortUpload(calls, Key, UploadId);
      collected += 1;
    }
    const { NextKeyMarker: key, NextUploadIdMarker: upload } = page;
    at =
      page.IsTruncated && key !== undefined
        ? { KeyMarker: key, ...(upload !== undefined && { UploadIdMarker: upload }) }
        : undefined;
  }
  return collected;
}
