export { StorageError, type StorageErrorCode } from "./errors.ts";
export type {
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
} from "./object-store.ts";
export { openStore } from "./open.ts";
export { StoreConfig } from "./store-config.ts";
export { type StoreGuard, withGuard } from "./with-guard.ts";
export { withPrefix } from "./with-prefix.ts";
export { type Retry, type RetryOptions, withRetry } from "./with-retry.ts";
