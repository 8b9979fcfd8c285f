import { z } from "zod";

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
