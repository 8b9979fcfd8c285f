import { expect, test } from "vitest";
import { readConfig } from "./config.ts";

const COMPLETE = {
  DATABASE_URL: "postgres://u:hunter2@127.0.0.1/control",
  REDIS_URL: "redis://127.0.0.1",
  STORE: "file:///var/lib/row%20back",
  JWT_SECRET: "s".repeat(32),
  ROWBACK_SECRET_KEY: Buffer.alloc(32).toString("base64"),
};

test("a complete environment is read, with defaults for the rest", () => {
  const config = readConfig({ ...COMPLETE, CORS_ORIGINS: "https://a.example, https://b.example" });
  expect(config).toMatchObject({
    host: "127.0.0.1",
    port: 3000,
    store: { driver: "filesystem", root: "/var/lib/row back" },
  });
  expect(config.settings.corsOrigins).toEqual(["https://a.example", "https://b.example"]);
  expect(config.settings.secretKey).toHaveLength(32);
});

test("a bucket is a store too", () => {
  const config = readConfig({ ...COMPLETE, S3_BUCKET: "backups", S3_ENDPOINT: "http://127.0.0.1:9000" });
  expect(config.store).toMatchObject({ driver: "s3", bucket: "backups", forcePathStyle: true });
});

test.each([
  ["DATABASE_URL", undefined],
  ["JWT_SECRET", "hunter2"],
  ["ROWBACK_SECRET_KEY", Buffer.from("hunter2").toString("base64")],
  ["STORE", undefined],
  ["STORE", "hunter2"],
  ["PORT", "99999"],
])("a wrong %s is named, and no value shown", (name, value) => {
  const read = () => readConfig({ ...COMPLETE, [name]: value });
  expect(read).toThrow(name);
  expect(read).not.toThrow("hunter2");
});
