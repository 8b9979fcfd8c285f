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
  ["JWT_JWKS_URL", "http://hunter2.example/keys"],
  ["JWT_CLOCK_TOLERANCE_SECONDS", "hunter2"],
  ["ROWBACK_SECRET_KEY", Buffer.from("hunter2").toString("base64")],
  ["STORE", undefined],
  ["STORE", "hunter2"],
  ["PORT", "99999"],
])("a wrong %s is named, and no value shown", (name, value) => {
  const read = () => readConfig({ ...COMPLETE, [name]: value });
  expect(read).toThrow(name);
  expect(read).not.toThrow("hunter2");
});

const ISSUED = {
  ...COMPLETE,
  JWT_SECRET: undefined,
  JWT_JWKS_URL: "https://id.example/keys",
  JWT_ISSUER: "https://id.example/",
  JWT_AUDIENCE: "rowback, rowback-console",
};

test("tokens of an issuer are checked by its keys, issuer and audience", () => {
  expect(readConfig({ ...ISSUED, JWT_CLOCK_TOLERANCE_SECONDS: "", JWT_SECRET: "" }).settings.tokens).toEqual({
    kind: "jwks",
    jwksUrl: "https://id.example/keys",
    issuer: "https://id.example/",
    audience: ["rowback", "rowback-console"],
    clockToleranceSeconds: 5,
    cacheSeconds: 600,
  });
});

test.each([
  ["neither a secret nor keys", { JWT_JWKS_URL: undefined }, ["JWT_JWKS_URL"]],
  ["a secret beside keys", { JWT_SECRET: "s".repeat(32) }, ["JWT_SECRET"]],
  ["no issuer and no audience", { JWT_ISSUER: undefined, JWT_AUDIENCE: "" }, ["JWT_ISSUER", "JWT_AUDIENCE"]],
  ["an empty audience among several", { JWT_AUDIENCE: "rowback," }, ["JWT_AUDIENCE"]],
  ["keys over an open line", { JWT_JWKS_URL: "http://id.example/keys" }, ["JWT_JWKS_URL"]],
  ["a password in the URL", { JWT_JWKS_URL: "https://u:hunter2@id.example/keys" }, ["JWT_JWKS_URL"]],
  ["no URL", { JWT_JWKS_URL: "hunter2", DATABASE_URL: undefined }, ["JWT_JWKS_URL", "DATABASE_URL"]],
  ["an hour of tolerance", { JWT_CLOCK_TOLERANCE_SECONDS: "3600" }, ["JWT_CLOCK_TOLERANCE_SECONDS"]],
])("%s is refused by name", (_, change, names) => {
  const read = () => readConfig({ ...ISSUED, ...change });
  for (const name of names) expect(read).toThrow(name);
  expect(read).not.toThrow("hunter2");
});

test("keys may come over an open line from this machine alone", () => {
  const url = "http://127.0.0.1:8080/keys";
  expect(readConfig({ ...ISSUED, JWT_JWKS_URL: url }).settings.tokens).toMatchObject({ jwksUrl: url });
});
