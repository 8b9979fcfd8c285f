import type { S3Client } from "@aws-sdk/client-s3";
import { startDeadline } from "./deadline.ts";
import { fromS3Error, unreachable } from "./s3-errors.ts";

/** A request that carries no object's bytes is answered within this, or the server is as good as gone. */
const CALL_MS = 30_000;
/** A line slower than this is treated as broken: 256 KiB/s gives 8 MiB 62 seconds. */
const SLOWEST_BYTES_PER_MS = 256;

export interface CallContext {
  /** For the message: `storing`, `listing`. */
  readonly doing: string;
  readonly key?: string | undefined;
  readonly signal: AbortSignal | undefined;
  /** Of an upload's body. */
  readonly bytes?: number | undefined;
}

/** One bucket, spoken to with a time limit per call; failures leave as `StorageError`, an abort as its reason. */
export class S3Calls {
  readonly client: S3Client;
  readonly bucket: string;
  readonly callMs: number;

  constructor(client: S3Client, bucket: string, callMs = CALL_MS) {
    this.client = client;
    this.bucket = bucket;
    this.callMs = callMs;
  }

  async send<T>(context: CallContext, call: (options: { abortSignal: AbortSignal }) => Promise<T>): Promise<T> {
    const deadline = startDeadline(this.callMs + (context.bytes ?? 0) / SLOWEST_BYTES_PER_MS, context.signal);
    try {
      return await call({ abortSignal: deadline.signal });
    } catch (error) {
      context.signal?.throwIfAborted();
      if (deadline.expired) throw unreachable(`${context.doing} ${context.key ?? ""}`, "timed out", context.key);
      throw fromS3Error(error, context.doing, context.key);
    } finally {
      deadline.clear();
    }
  }
}
