import { existsSync } from "node:fs";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type TestDatabase, testDatabase, testFolder, testRedis, testRole } from "./index.ts";

let shared: TestDatabase;
let lastFolder: string;
let lastDatabase: string;
const fileFolder = testFolder();

beforeAll(async () => {
  shared = await testDatabase("shared");
});

afterAll(() => {
  expect(existsSync(fileFolder)).toBe(true);
});

it("hands out PostgreSQL 18 with logical decoding, and a role without privileges", async () => {
  const database = await testDatabase("of a test");
  lastDatabase = database.name;
  lastFolder = testFolder();
  const version = await database.pool.query("SELECT current_setting('wal_level') AS level, version() AS version");
  expect(version.rows[0]).toMatchObject({ level: "logical" });
  const role = await testRole(database);
  expect(role.url).toContain(role.name);
  const { rows } = await database.pool.query("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = $1", [
    role.name,
  ]);
  expect(rows).toEqual([{ rolsuper: false, rolbypassrls: false }]);
});

it("has removed what the test before it made, and kept what is the file's", async () => {
  const { rows } = await shared.pool.query("SELECT datname FROM pg_database WHERE datname IN ($1, $2)", [
    lastDatabase,
    shared.name,
  ]);
  expect(rows).toEqual([{ datname: shared.name }]);
  expect(existsSync(lastFolder)).toBe(false);
  expect(existsSync(fileFolder)).toBe(true);
});

it("hands out Redis that never evicts", async () => {
  const { url, prefix } = testRedis();
  const redis = new Redis(url);
  await redis.set(`${prefix}:a`, "1");
  expect(await redis.config("GET", "maxmemory-policy")).toEqual(["maxmemory-policy", "noeviction"]);
  redis.disconnect();
});
