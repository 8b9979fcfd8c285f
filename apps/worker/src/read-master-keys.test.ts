import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { testFolder } from "@rowback/local-services/testing";
import { parseMasterKeys } from "@rowback/recovery";
import { expect, test } from "vitest";
import { readConfig, readKeysConfig } from "./config.ts";
import { type MasterKeySource, readMasterKeys } from "./read-master-keys.ts";

const KEY = randomBytes(32).toString("base64");
const { id } = parseMasterKeys(KEY).current;

function command(script: string, timeoutMs = 10_000): MasterKeySource {
  return { kind: "command", argv: [process.execPath, "-e", script], timeoutMs };
}

async function failure(source: MasterKeySource): Promise<string> {
  return await readMasterKeys(source).then(
    () => "read",
    (error: unknown) => String(error),
  );
}

test("from the setting itself, a file and a command", async () => {
  expect(await readMasterKeys(null)).toBeUndefined();
  expect((await readMasterKeys({ kind: "value", text: KEY }))?.current.id).toBe(id);
  const path = join(await testFolder(), "master.key");
  await writeFile(path, `${KEY}\n`);
  expect((await readMasterKeys({ kind: "file", path }))?.current.id).toBe(id);
  expect((await readMasterKeys(command(`console.log("${KEY}")`)))?.current.id).toBe(id);
});

test("a command's arguments meet no shell", async () => {
  const argv = [
    process.execPath,
    "-e",
    "process.stdout.write(process.argv[1])",
    "--",
    `${KEY} $(touch /tmp/never) ; echo`,
  ];
  await expect(readMasterKeys({ kind: "command", argv, timeoutMs: 10_000 })).rejects.toThrow("master key 2");
});

test("what fails names the setting and shows nothing that was printed", async () => {
  const folder = await testFolder();
  const long = join(folder, "long");
  await writeFile(long, "A".repeat(70_000));
  const failures = await Promise.all([
    failure(command(`console.log("${KEY}"); console.error("${KEY}"); process.exit(3)`)),
    failure(command(`console.log("${KEY}"); setInterval(() => {}, 1000)`, 1_000)),
    failure(command(`process.stdout.write("${KEY} ".repeat(5_000))`)),
    failure(command(`console.log("${KEY.slice(1)}")`)),
    failure({ kind: "command", argv: [join(folder, "no-such-program")], timeoutMs: 1_000 }),
    failure({ kind: "file", path: join(folder, "nowhere") }),
    failure({ kind: "file", path: long }),
    failure({ kind: "value", text: KEY.slice(1) }),
  ]);
  expect(failures.map((text) => /ROWBACK_MASTER_KEY(_FILE|_COMMAND)?/.exec(text)?.[0])).toEqual([
    ...Array<string>(5).fill("ROWBACK_MASTER_KEY_COMMAND"),
    ...Array<string>(2).fill("ROWBACK_MASTER_KEY_FILE"),
    "ROWBACK_MASTER_KEY",
  ]);
  expect(failures[0]).toContain("exit code 3");
  for (const text of failures) expect(text).not.toContain(KEY.slice(1, 40));
});

test("the environment names one source of master keys at most", () => {
  const complete = {
    DATABASE_URL: "postgres://rowback@127.0.0.1/rowback",
    REDIS_URL: "redis://127.0.0.1",
    STORE: "file:///var/lib/store",
    ROWBACK_SECRET_KEY: Buffer.alloc(32, 7).toString("base64"),
  };
  expect(readConfig(complete).masterKeys).toBeNull();
  expect(readConfig({ ...complete, ROWBACK_MASTER_KEY: KEY }).masterKeys).toEqual({ kind: "value", text: KEY });
  expect(readKeysConfig({ ...complete, ROWBACK_MASTER_KEY_FILE: "/run/key" }).masterKeys).toEqual({
    kind: "file",
    path: "/run/key",
  });
  const argv = ["/usr/bin/kms", "get", "a key"];
  expect(readConfig({ ...complete, ROWBACK_MASTER_KEY_COMMAND: JSON.stringify(argv) }).masterKeys).toMatchObject({
    kind: "command",
    argv,
  });
  for (const text of ["/usr/bin/kms get", "[]", "{}", "[1]"]) {
    expect(() => readConfig({ ...complete, ROWBACK_MASTER_KEY_COMMAND: text })).toThrow(
      /ROWBACK_MASTER_KEY_COMMAND(\.0)?: must be a JSON array/,
    );
  }
  expect(() => readConfig({ ...complete, ROWBACK_MASTER_KEY: KEY, ROWBACK_MASTER_KEY_FILE: "/run/key" })).toThrow(
    /Set one of/,
  );
});
