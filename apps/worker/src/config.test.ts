import { expect, test } from "vitest";
import { environmentSecrets, readConfig } from "./config.ts";

const complete = {
  DATABASE_URL: "postgres://rowback@127.0.0.1/rowback",
  REDIS_URL: "redis://127.0.0.1",
  STORE: "file:///var/lib/rowback%20store",
  ROWBACK_SECRET_KEY: Buffer.alloc(32, 7).toString("base64"),
};

test("a minimal environment gives a whole configuration", () => {
  expect(readConfig(complete)).toMatchObject({
    store: { driver: "filesystem", root: "/var/lib/rowback store" },
    queuePrefix: "rowback",
    concurrency: 4,
  });
});

test("a bucket wins over a folder, and an endpoint of one's own means path style", () => {
  const s3 = {
    S3_BUCKET: "backups",
    S3_ENDPOINT: "http://127.0.0.1:9000",
    S3_ACCESS_KEY_ID: "id",
    S3_SECRET_ACCESS_KEY: "key",
  };
  expect(readConfig({ ...complete, ...s3 }).store).toMatchObject({
    driver: "s3",
    bucket: "backups",
    forcePathStyle: true,
  });
});

test("what is wrong is named, and no value shown", () => {
  expect(() => readConfig({ ...complete, ROWBACK_SECRET_KEY: "c2hvcnQ=", WORKER_CONCURRENCY: "0" })).toThrow(
    /ROWBACK_SECRET_KEY(.|\n)*WORKER_CONCURRENCY/,
  );
  expect(() => readConfig({ ...complete, ROWBACK_SECRET_KEY: "c2hvcnQ=" })).not.toThrow(/c2hvcnQ=/);
  expect(() => readConfig({ ...complete, STORE: undefined })).toThrow(/STORE/);
});

test("env:NAME is resolved from this process's environment, and nothing else is", () => {
  const resolve = environmentSecrets({ SHOP_URL: "postgres://shop", EMPTY: "" });
  expect(resolve("env:SHOP_URL")).toBe("postgres://shop");
  for (const reference of ["env:MISSING", "env:EMPTY", "SHOP_URL", "file:/etc/passwd", "env:SHOP URL"]) {
    expect(() => resolve(reference)).toThrow(expect.objectContaining({ code: "source_not_configured" }));
  }
});
