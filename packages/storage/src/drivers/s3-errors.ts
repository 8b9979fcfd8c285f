import { S3ServiceException } from "@aws-sdk/client-s3";
import { StorageError, type StorageErrorCode } from "../errors.ts";

interface Verdict {
  readonly code: StorageErrorCode;
  readonly hint?: string;
  readonly retryable?: boolean;
}

/** Error names of S3 and of servers that speak its language, where the status alone does not tell. */
const BY_NAME: Readonly<Record<string, Verdict>> = {
  NoSuchBucket: { code: "store_error", retryable: false, hint: "Create the bucket, or correct its name and region." },
  PermanentRedirect: { code: "store_error", retryable: false, hint: "Set the region that the bucket is in." },
  AuthorizationHeaderMalformed: { code: "store_denied", hint: "Set the region that the bucket is in." },
  RequestTimeTooSkewed: { code: "store_denied", hint: "Set this machine's clock." },
  CredentialsProviderError: { code: "store_denied", hint: "Give the store's access key, or a role." },
  // Ceph answers 403 when a user's or bucket's quota is used up.
  QuotaExceeded: { code: "store_full", hint: "Raise the bucket's or the user's quota." },
  XMinioStorageFull: { code: "store_full", hint: "Give the object store more space." },
  InsufficientCapacity: { code: "store_full", hint: "Give the object store more space." },
  // Amazon's 400 when a connection stalled while it read the body.
  RequestTimeout: { code: "store_unreachable" },
  KeyTooLongError: { code: "invalid_key" },
};

const BY_STATUS: Readonly<Record<number, Verdict>> = {
  401: { code: "store_denied", hint: "Check the store's access key." },
  403: {
    code: "store_denied",
    hint: "Check the store's access key, and that it may read, write, list and delete in the bucket.",
  },
  404: { code: "object_missing" },
  // A conditional request that met another one half-way.
  409: { code: "store_error" },
  412: { code: "object_exists" },
  429: { code: "store_error" },
  507: { code: "store_full", hint: "Give the object store more space." },
};

/**
 * A failed call, in the words of the store. The SDK's error is not kept as the cause: it carries the request, and some servers' answers
 * repeat the access key.
 */
export function fromS3Error(error: unknown, doing: string, key?: string): StorageError {
  if (error instanceof StorageError) return error;
  const what = `${doing}${key === undefined ? "" : ` ${key}`}`;
  const name = error instanceof Error ? error.name : "unknown error";
  const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
  const verdict = BY_NAME[name] ?? (status === undefined ? undefined : (BY_STATUS[status] ?? byClass(status)));
  if (verdict !== undefined) {
    const said = status === undefined ? name : `${status} ${name}`;
    return new StorageError(verdict.code, `S3 answered ${said}: ${what}.`, { ...verdict, key });
  }
  const socketError = socketErrorName(error);
  if (socketError === undefined && name !== "TimeoutError") {
    return new StorageError("store_error", `S3's answer was not understood: ${what} (${name}).`, { key });
  }
  return unreachable(what, socketError ?? name, key);
}

/** One key's failure out of a batch that as such succeeded. */
export function fromS3Code(name: string, doing: string, key: string | undefined): StorageError {
  const verdict = BY_NAME[name] ?? (name === "AccessDenied" ? BY_STATUS[403] : undefined) ?? { code: "store_error" };
  return new StorageError(verdict.code, `S3 answered ${name}: ${doing} ${key ?? ""}.`, { ...verdict, key });
}

export function unreachable(what: string, why: string, key: string | undefined): StorageError {
  return new StorageError("store_unreachable", `S3 does not answer: ${what} (${why}).`, {
    key,
    hint: "Check the store's endpoint and the network.",
  });
}

function byClass(status: number): Verdict {
  return { code: "store_error", retryable: status >= 500 };
}

/** ECONNREFUSED and its like; what failed on several addresses is one error with several inside. */
function socketErrorName(error: unknown): string | undefined {
  if (error instanceof AggregateError) return error.errors.map(socketErrorName).find(Boolean);
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
