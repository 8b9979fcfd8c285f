import { z } from "zod";
import { openFilesystemStore } from "./drivers/filesystem.ts";
import { openS3Store } from "./drivers/s3.ts";
import type { ObjectStore } from "./object-store.ts";
import { withPrefix } from "./with-prefix.ts";

const FilesystemConfig = z.strictObject({
  driver: z.literal("filesystem"),
  /** The store's folder. */
  root: z.string().min(1),
});

const S3Config = z
  .strictObject({
    driver: z.literal("s3"),
    bucket: z.string().min(3).max(63),
    region: z.string().min(1).default("us-east-1"),
    /** Of a server other than Amazon's: `https://host[:port]`. */
    endpoint: z.url({ protocol: /^https?$/ }).optional(),
    /** Without keys, the usual ways of the AWS SDK: environment, shared files, instance or task role. */
    accessKeyId: z.string().min(1).optional(),
    secretAccessKey: z.string().min(1).optional(),
    /** `endpoint/bucket/key` instead of `bucket.endpoint/key`; most servers other than Amazon's need it. */
    forcePathStyle: z.boolean().default(false),
    /** All keys begin with `<prefix>/`. */
    prefix: z.string().min(1).optional(),
  })
  .refine((config) => (config.accessKeyId === undefined) === (config.secretAccessKey === undefined), {
    error: "accessKeyId and secretAccessKey come together",
  });

/** Where a store is: one record per driver. */
export const StoreConfig = z.discriminatedUnion("driver", [FilesystemConfig, S3Config]);
export type StoreConfig = z.infer<typeof StoreConfig>;

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
