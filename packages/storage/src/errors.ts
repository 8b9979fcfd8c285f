/** Whether trying the same thing again can help, by code. One occurrence may say otherwise. */
const RETRYABLE = {
  object_missing: false,
  object_exists: false,
  invalid_key: false,
  store_unreachable: true,
  store_denied: false,
  store_full: true,
  store_error: true,
} as const satisfies Record<string, boolean>;

export type StorageErrorCode = keyof typeof RETRYABLE;

export interface StorageErrorOptions {
  readonly key?: string | undefined;
  /** What the reader can do about it, as one imperative sentence. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
  /** Overrides the code's default for this one occurrence. */
  readonly retryable?: boolean | undefined;
}

/** The one error of the stores. Classified where it is made, by error numbers, names and statuses. */
export class StorageError extends Error {
  override readonly name = "StorageError";
  readonly code: StorageErrorCode;
  readonly retryable: boolean;
  readonly hint: string | undefined;
  readonly key: string | undefined;

  constructor(code: StorageErrorCode, message: string, options: StorageErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? RETRYABLE[code];
    this.hint = options.hint;
    this.key = options.key;
  }
}
