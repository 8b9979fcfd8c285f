import { describe, expect, it } from "vitest";
import { StoreConfig } from "./store-config.ts";

const S3 = { driver: "s3", bucket: "backups", region: "eu-central-1" };

describe("a store's configuration", () => {
  it("is a record per driver", () => {
    expect(StoreConfig.parse({ driver: "filesystem", root: "/var/lib/rowback" })).toEqual({
      driver: "filesystem",
      root: "/var/lib/rowback",
    });
    expect(StoreConfig.parse(S3)).toEqual({ ...S3, forcePathStyle: false });
  });

  it.each([
    { driver: "filesystem" },
    { driver: "filesystem", root: "" },
    { driver: "filesystem", root: "/x", bucket: "b" },
    { driver: "tape" },
    { ...S3, bucket: "" },
    { ...S3, endpoint: "ftp://host" },
    { ...S3, accessKeyId: "only-half" },
    {},
  ])("refuses %j", (config) => {
    expect(StoreConfig.safeParse(config).success).toBe(false);
  });
});
