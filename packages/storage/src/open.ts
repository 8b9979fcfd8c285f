import { openFilesystemStore } from "./drivers/filesystem.ts";
import { openS3Store } from "./drivers/s3.ts";
import type { ObjectStore } from "./object-store.ts";
import type { StoreConfig } from "./store-config.ts";
import { withPrefix } from "./with-prefix.ts";

/**
 * The store of a configuration, bare: wrap it in `withRetry`. Opens no connection and makes no folder yet; the first call does.
 *
 * @throws StorageError `invalid_key` if the S3 prefix is no key.
 */
export function openStore(config: StoreConfig): ObjectStore {
  switch (config.driver) {
    case "filesystem":
      return openFilesystemStore({ root: config.root });
    case "s3": {
      const { driver: _, prefix, ...settings } = config;
      const store = openS3Store({
        ...settings,
        ownPrefix: prefix === undefined ? "" : `${prefix.replace(/\/$/, "")}/`,
      });
      return prefix === undefined ? store : withPrefix(store, prefix);
    }
  }
}
